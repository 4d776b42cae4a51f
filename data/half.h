#pragma once

#include <cstddef>
#include <cstdint>

namespace data {

// IEEE 754 binary16 <-> binary32 for whole arrays; no alignment asked for. Narrowing rounds to nearest, ties
// to even; beyond 65504 becomes infinite.
void HalfToFloat(const uint16_t* in, float* out, size_t count);
void FloatToHalf(const float* in, uint16_t* out, size_t count);

// Whether no value is infinite or NaN.
bool AllFinite(const float* values, size_t count);

}  // namespace data
