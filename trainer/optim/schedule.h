// The one learning-rate schedule: linear warm-up, then a cosine.
#pragma once

#include <cstdint>

namespace trainer::optim {

struct Schedule {
  double lr;  // the peak
  int64_t warmup_steps;
  int64_t total_steps;
  double cycles;  // 0.5: half a cosine, down to zero

  // The learning rate of the update number `step`, counted from 0 (so with warm-up the first update has rate
  // 0).
  //   below warm-up:  lr * step / max(1, warmup)
  //   then:           lr * max(0, (1 + cos(2 pi cycles progress)) / 2),
  //                   progress = (step - warmup) / max(1, total - warmup)
  // Source: get_cosine_schedule_with_warmup of the HW4 notebook; the same doubles as torch's LambdaLR.
  double LearningRate(int64_t step) const;
};

}  // namespace trainer::optim
