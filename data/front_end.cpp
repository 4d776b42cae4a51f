#include "data/front_end.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/json_fields.h"
#include "data/status_macros.h"

namespace data {

nlohmann::json FrontEndToJson(const FrontEnd& front_end) {
  return {{"source", front_end.source},
          {"sample_rate", front_end.sample_rate},
          {"n_fft", front_end.n_fft},
          {"hop", front_end.hop},
          {"n_mels", front_end.n_mels},
          {"f_min", front_end.f_min},
          {"f_max", front_end.f_max},
          {"floor", front_end.floor},
          {"trim_silence", front_end.trim_silence},
          {"normalize_db",
           front_end.normalize_db ? nlohmann::json(*front_end.normalize_db) : nlohmann::json(nullptr)}};
}

absl::StatusOr<FrontEnd> FrontEndFromJson(const nlohmann::json& json) {
  FrontEnd front_end;
  ASSIGN_OR_RETURN(front_end.source, JsonString(json, "source"));
  ASSIGN_OR_RETURN(const int64_t sample_rate, JsonInt(json, "sample_rate", 1, 1'000'000));
  ASSIGN_OR_RETURN(const int64_t n_fft, JsonInt(json, "n_fft", 1, 1 << 20));
  ASSIGN_OR_RETURN(const int64_t hop, JsonInt(json, "hop", 1, 1 << 20));
  ASSIGN_OR_RETURN(const int64_t n_mels, JsonInt(json, "n_mels", 1, 4096));
  front_end.sample_rate = static_cast<int>(sample_rate);
  front_end.n_fft = static_cast<int>(n_fft);
  front_end.hop = static_cast<int>(hop);
  front_end.n_mels = static_cast<int>(n_mels);
  ASSIGN_OR_RETURN(front_end.f_min, JsonNumber(json, "f_min"));
  ASSIGN_OR_RETURN(front_end.f_max, JsonNumber(json, "f_max"));
  ASSIGN_OR_RETURN(front_end.floor, JsonNumber(json, "floor"));
  ASSIGN_OR_RETURN(front_end.trim_silence, JsonBool(json, "trim_silence"));
  ASSIGN_OR_RETURN(const nlohmann::json* normalize, JsonField(json, "normalize_db"));
  if (!normalize->is_null()) {
    ASSIGN_OR_RETURN(front_end.normalize_db, JsonNumber(json, "normalize_db"));
  }
  return front_end;
}

}  // namespace data
