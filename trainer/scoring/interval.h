// How sure a share is.
#pragma once

#include <cstdint>

namespace trainer::scoring {

struct Interval {
  double low = 0;
  double high = 1;
};

// Wilson's 95 % interval of the share that `successes` of `trials` independent trials stand for (E. B.
// Wilson, "Probable inference, the law of succession, and statistical inference", 1927). Unlike the normal
// approximation it is not empty at 0 and 1. Without trials: 0 to 1.
Interval WilsonInterval(int64_t successes, int64_t trials);

}  // namespace trainer::scoring
