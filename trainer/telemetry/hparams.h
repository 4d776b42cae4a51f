// A run's configuration beside its final figures, for TensorBoard's page HPARAMS, where runs are compared.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "trainer/telemetry/summary.h"

namespace trainer::telemetry {

// What a run begins with. `config`: keys in sections, also within sections, which become "section.key"; lists
// are shown as text. `metrics`: tags of scalars, of which the page shows the newest value. TensorBoard keeps
// the first of a run's folder, so a run that goes on is shown as it was first configured.
Summary HparamsOfRun(const nlohmann::json& config, const std::vector<std::string>& metrics,
                     double unix_seconds);

// What a run ends with: the scalars in `metrics`, (tag, value), and that it has succeeded. Not for a run that
// was stopped and is to go on.
Summary EndOfRun(const std::vector<std::pair<std::string, double>>& metrics, double unix_seconds);

}  // namespace trainer::telemetry
