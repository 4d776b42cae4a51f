// How many floating-point operations a model needs, by its equations.
#pragma once

#include <cstdint>

#include "trainer/config/config.h"

namespace trainer::model {

// Floating-point operations of the matrix products and convolutions of one utterance of `frames` frames,
// forwards; a multiply-add counts as two. Elementwise work (norms, activations, softmax) is left out, as is
// usual. Backwards takes twice as many again (a product for each of the two factors), so a training step
// takes three times this an utterance.
//
// Of the Conformer's relative positions the product with all 2 T - 1 distances counts, since that is what is
// computed (see relative_attention.cpp).
double ForwardFlops(const config::Config& config, int64_t n_mels, int64_t n_speakers, int64_t frames);

}  // namespace trainer::model
