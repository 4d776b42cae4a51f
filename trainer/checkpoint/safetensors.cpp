#include "trainer/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "trainer/checkpoint/file_io.h"

namespace trainer::checkpoint {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "the format's values are little-endian, and copied as is");

constexpr char kMetadataKey[] = "__metadata__";
constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of Python's reader
constexpr size_t kMaxDimensions = 64;

struct Dtype {
  const char* name;
  torch::ScalarType type;
};

constexpr Dtype kDtypes[] = {
    {"F64", torch::kDouble}, {"F32", torch::kFloat}, {"F16", torch::kHalf},  {"BF16", torch::kBFloat16},
    {"I64", torch::kLong},   {"I32", torch::kInt},   {"I16", torch::kShort}, {"I8", torch::kChar},
    {"U8", torch::kByte},    {"BOOL", torch::kBool},
};

const Dtype* FindDtype(torch::ScalarType type) {
  const auto* found =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return d.type == type; });
  return found == std::end(kDtypes) ? nullptr : found;
}

const Dtype* FindDtype(const std::string& name) {
  const auto* found =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return name == d.name; });
  return found == std::end(kDtypes) ? nullptr : found;
}

// Whatever the name holds, on one line of bearable length.
std::string Shown(const std::string& name) {
  return json(name.substr(0, 100)).dump(-1, ' ', false, json::error_handler_t::replace);
}

// Throws nothing: false where `text` is not UTF-8.
bool ToJsonString(const std::string& text, std::string* out) {
  try {
    *out = json(text).dump();
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

struct Placed {
  std::string name;
  torch::ScalarType type;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // in bytes behind the header
  uint64_t end = 0;
};

// The header's JSON, and the order in which it names the tensors.
absl::StatusOr<json> ParseHeader(std::span<const char> text, const std::string& name,
                                 std::vector<std::string>* order) {
  std::unordered_set<std::string> seen;
  std::string twice;
  bool too_deep = false;
  // Entries are {"dtype", "shape": [...], "data_offsets": [...]}: nothing lies deeper than the items of those
  // lists.
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (seen.insert(key).second) {
        if (key != kMetadataKey) order->push_back(key);
      } else {
        twice = key;
      }
    }
    if ((event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) &&
        depth > 2) {
      too_deep = true;
      return false;
    }
    return true;
  };
  json header = json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object() || too_deep) {
    return absl::DataLossError(
        absl::StrCat(name,
                     ": not a safetensors file, or damaged: its header is not the JSON "
                     "object that it should be"));
  }
  if (!twice.empty())
    return absl::DataLossError(absl::StrCat(name, ": tensor ", Shown(twice), " is there twice"));
  return header;
}

absl::StatusOr<Placed> ParseEntry(const std::string& tensor, const json& entry, uint64_t data_bytes,
                                  const std::string& name) {
  const auto damaged = [&](const std::string& what) {
    return absl::DataLossError(absl::StrCat(name, ": tensor ", Shown(tensor), ": ", what));
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
      !entry["data_offsets"].is_array()) {
    return damaged("its header entry lacks dtype, shape or data_offsets");
  }
  const Dtype* dtype = FindDtype(entry["dtype"].get_ref<const std::string&>());
  if (dtype == nullptr) {
    return damaged(
        absl::StrCat("dtype ", Shown(entry["dtype"].get_ref<const std::string&>()), " is not supported"));
  }
  Placed placed{tensor, dtype->type, {}};
  const json& shape = entry["shape"];
  if (shape.size() > kMaxDimensions) return damaged(absl::StrCat("has ", shape.size(), " dimensions"));
  uint64_t bytes = c10::elementSize(dtype->type);
  // An empty dimension must not hide the overflow of the others: LibTorch computes strides from them.
  uint64_t bound = bytes;
  for (const json& size : shape) {
    if (!size.is_number_unsigned()) return damaged("its shape holds something other than sizes");
    const auto extent = size.get<uint64_t>();
    if (__builtin_mul_overflow(bound, std::max<uint64_t>(extent, 1), &bound) ||
        bound > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return damaged("its shape is too large for any memory");
    }
    bytes *= extent;
    placed.shape.push_back(static_cast<int64_t>(extent));
  }
  const json& offsets = entry["data_offsets"];
  if (offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    return damaged("its data_offsets are not two offsets");
  }
  placed.begin = offsets[0].get<uint64_t>();
  placed.end = offsets[1].get<uint64_t>();
  if (placed.begin > placed.end || placed.end > data_bytes) {
    return damaged(absl::StrCat("bytes ", placed.begin, " to ", placed.end, " lie outside the file's ",
                                data_bytes, " bytes of values"));
  }
  if (placed.end - placed.begin != bytes) {
    return damaged(absl::StrCat("its dtype and shape [", absl::StrJoin(placed.shape, ", "), "] need ", bytes,
                                " bytes, but it has ", placed.end - placed.begin));
  }
  return placed;
}

// Every byte of the values belongs to exactly one tensor.
absl::Status CheckCover(const std::vector<Placed>& all, uint64_t data_bytes, const std::string& name) {
  std::vector<const Placed*> sorted;
  for (const Placed& placed : all) sorted.push_back(&placed);
  std::sort(sorted.begin(), sorted.end(), [](const Placed* a, const Placed* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t end = 0;
  for (const Placed* placed : sorted) {
    if (placed->begin != end) {
      return absl::DataLossError(absl::StrCat(
          name, ": tensor ", Shown(placed->name), " begins at byte ", placed->begin,
          placed->begin < end ? ", inside" : ", not behind", " the one before it, which ends at ", end));
    }
    end = placed->end;
  }
  if (end != data_bytes) {
    return absl::DataLossError(
        absl::StrCat(name, ": ", data_bytes - end, " bytes at its end belong to no tensor; it is damaged"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Metadata> ParseMetadata(const json& header, const std::string& name) {
  Metadata metadata;
  const auto found = header.find(kMetadataKey);
  if (found == header.end()) return metadata;
  if (!found->is_object()) return absl::DataLossError(absl::StrCat(name, ": its metadata is not an object"));
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string()) {
      return absl::DataLossError(absl::StrCat(name, ": metadata ", Shown(key), " is not a string"));
    }
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

absl::StatusOr<torch::Tensor> CopyOut(const Placed& placed, const char* values, const std::string& name) {
  torch::Tensor tensor = torch::empty(placed.shape, torch::dtype(placed.type).device(torch::kCPU));
  const char* begin = values + placed.begin;
  const char* end = values + placed.end;
  // A bool that is neither 0 nor 1 is undefined behaviour wherever it is read.
  if (placed.type == torch::kBool && std::any_of(begin, end, [](char c) { return c != 0 && c != 1; })) {
    return absl::DataLossError(
        absl::StrCat(name, ": tensor ", Shown(placed.name), ": holds bools other than 0 and 1"));
  }
  if (begin != end) std::memcpy(tensor.data_ptr(), begin, static_cast<size_t>(end - begin));
  return tensor;
}

}  // namespace

std::vector<std::span<const char>> EncodedSafetensors::Pieces() const& {
  std::vector<std::span<const char>> pieces = {{header.data(), header.size()}};
  for (const torch::Tensor& tensor : values) {
    if (tensor.nbytes() > 0)
      pieces.emplace_back(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  return pieces;
}

uint64_t EncodedSafetensors::Checksum() const { return ChecksumOf(Pieces()); }

absl::StatusOr<EncodedSafetensors> EncodeSafetensors(const NamedTensors& tensors, const Metadata& metadata) {
  const auto wrong = [](const std::string& name, const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Shown(name), " cannot be saved: ", what));
  };
  struct Item {
    std::string entry;  // the name and the header entry up to the offsets
    torch::Tensor values;
    uint64_t begin = 0;
  };
  std::vector<Item> items;
  std::unordered_set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    std::string quoted;
    if (name == kMetadataKey) return wrong(name, "the name is reserved");
    if (!ToJsonString(name, &quoted)) return wrong(name, "its name is not UTF-8");
    if (!names.insert(name).second) return wrong(name, "the name is there twice");
    if (!tensor.defined()) return wrong(name, "it is undefined");
    const Dtype* dtype = FindDtype(tensor.scalar_type());
    if (dtype == nullptr)
      return wrong(name, absl::StrCat("the format has no ", c10::toString(tensor.scalar_type())));
    if (tensor.layout() != torch::kStrided) return wrong(name, "it is not dense");
    items.push_back({absl::StrCat(quoted, ":{\"dtype\":\"", dtype->name, "\",\"shape\":[",
                                  absl::StrJoin(tensor.sizes(), ","), "],\"data_offsets\":["),
                     tensor.detach().to(torch::kCPU).contiguous(), 0});
  }

  // Wide types first, so that every tensor lies at a multiple of its element size; the header keeps the given
  // order.
  std::vector<Item*> by_width;
  for (Item& item : items) by_width.push_back(&item);
  std::stable_sort(by_width.begin(), by_width.end(), [](const Item* a, const Item* b) {
    return a->values.element_size() > b->values.element_size();
  });
  EncodedSafetensors encoded;
  uint64_t offset = 0;
  for (Item* item : by_width) {
    item->begin = offset;
    offset += item->values.nbytes();
    encoded.values.push_back(item->values);
  }

  std::vector<std::string> entries;
  if (!metadata.empty()) {
    std::string text;
    try {
      text = json(metadata).dump();
    } catch (const json::exception&) {
      return absl::InvalidArgumentError("metadata cannot be saved: it is not UTF-8");
    }
    entries.push_back(absl::StrCat("\"", kMetadataKey, "\":", text));
  }
  for (const Item& item : items) {
    entries.push_back(absl::StrCat(item.entry, item.begin, ",", item.begin + item.values.nbytes(), "]}"));
  }
  std::string text = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  if (length > kMaxHeaderBytes)
    return absl::InvalidArgumentError("too many tensors for one safetensors file");
  encoded.header.resize(kLengthBytes);
  std::memcpy(encoded.header.data(), &length, kLengthBytes);
  encoded.header += text;
  return encoded;
}

absl::Status WriteSafetensors(const std::string& path, const NamedTensors& tensors,
                              const Metadata& metadata) {
  absl::StatusOr<EncodedSafetensors> encoded = EncodeSafetensors(tensors, metadata);
  if (!encoded.ok()) return encoded.status();
  return WriteSynced(path, encoded->Pieces());
}

absl::StatusOr<Safetensors> ParseSafetensors(std::span<const char> bytes, const std::string& name) {
  if (bytes.size() < kLengthBytes) {
    return absl::DataLossError(
        absl::StrCat(name, ": not a safetensors file, or cut short: it has only ", bytes.size(), " bytes"));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - kLengthBytes)) {
    return absl::DataLossError(absl::StrCat(name, ": not a safetensors file, or cut short: a header of ",
                                            length, " bytes does not fit its ", bytes.size(), " bytes"));
  }
  const std::span<const char> values = bytes.subspan(kLengthBytes + length);
  std::vector<std::string> order;
  ASSIGN_OR_RETURN(const json header, ParseHeader(bytes.subspan(kLengthBytes, length), name, &order));
  Safetensors result;
  ASSIGN_OR_RETURN(result.metadata, ParseMetadata(header, name));
  std::vector<Placed> all;
  for (const std::string& tensor : order) {
    ASSIGN_OR_RETURN(Placed placed, ParseEntry(tensor, header.at(tensor), values.size(), name));
    all.push_back(std::move(placed));
  }
  RETURN_IF_ERROR(CheckCover(all, values.size(), name));
  for (const Placed& placed : all) {
    ASSIGN_OR_RETURN(torch::Tensor tensor, CopyOut(placed, values.data(), name));
    result.tensors.emplace_back(placed.name, std::move(tensor));
  }
  return result;
}

absl::StatusOr<Safetensors> ReadSafetensors(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, data::ReadFile(path));
  return ParseSafetensors({bytes.data(), bytes.size()}, path);
}

}  // namespace trainer::checkpoint
