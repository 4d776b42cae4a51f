// The table of all configuration keys. Private to trainer/config.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/config/config.h"
#include "trainer/config/values.h"

namespace trainer::config {

struct Field {
  std::string key;  // section.name; a section may lie in another: metrics.prometheus.address
  std::string doc;  // one sentence or two, for --print-config and the README
  Rule rule;
  bool is_list = false;
  std::function<absl::Status(const RawValue&, Config&)> set;
  std::function<nlohmann::json(const Config&)> get;

  std::string section() const { return key.substr(0, key.rfind('.')); }
  std::string name() const { return key.substr(key.rfind('.') + 1); }
};

// In the order in which they are printed; the keys of a section stand together.
const std::vector<Field>& Fields();

// Null where there is no such key.
const Field* FindField(const std::string& key);

bool IsSection(const std::string& name);

std::vector<std::string> AllKeys();

}  // namespace trainer::config
