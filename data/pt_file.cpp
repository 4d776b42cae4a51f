#include "data/pt_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "data/files.h"
#include "data/status_macros.h"
#include "data/tensor_pickle.h"
#include "data/zip_reader.h"

namespace data {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor bytes are taken as they are stored");

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

bool StartsWith(std::span<const uint8_t> bytes, std::span<const uint8_t> prefix) {
  return bytes.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), bytes.begin());
}

// What a file that is no zip archive seems to be.
absl::Status NotZip(std::span<const uint8_t> bytes) {
  constexpr std::array<uint8_t, 3> kPickle = {0x80, 0x02, 0x8a};  // how torch.save began before version 1.6
  if (StartsWith(bytes, kPickle)) {
    return absl::InvalidArgumentError(
        "is in torch.save's old format (before PyTorch 1.6); in Python: torch.save(torch.load(path), path)");
  }
  if (bytes.empty()) return absl::DataLossError("is empty (0 bytes)");
  return absl::DataLossError("is not a file that torch.save wrote (no zip archive)");
}

const ZipEntry* Find(const std::vector<ZipEntry>& entries, const std::string& name) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const ZipEntry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

// Copies the strided tensor; its bounds have been checked.
PtMatrix Gather(const PickledTensor& tensor, std::span<const uint8_t> storage) {
  PtMatrix matrix{tensor.sizes[0], tensor.sizes[1], {}};
  const auto columns = static_cast<size_t>(matrix.columns);
  matrix.values.resize(static_cast<size_t>(matrix.rows) * columns);
  for (int64_t row = 0; row < matrix.rows; ++row) {
    float* out = matrix.values.data() + static_cast<size_t>(row) * columns;
    const uint8_t* in = storage.data() + (tensor.offset + row * tensor.strides[0]) * int64_t{sizeof(float)};
    if (tensor.strides[1] == 1) {
      std::memcpy(out, in, columns * sizeof(float));
    } else {
      for (size_t column = 0; column < columns; ++column) {
        std::memcpy(out + column,
                    in + static_cast<int64_t>(column) * tensor.strides[1] * int64_t{sizeof(float)},
                    sizeof(float));
      }
    }
  }
  return matrix;
}

// Every element within the storage, and no more elements than a file of this size can mean: an expanded
// tensor (stride 0) could otherwise ask for any amount of memory.
absl::Status CheckBounds(const PickledTensor& tensor, int64_t storage_elements) {
  const absl::Status bad = absl::DataLossError("is damaged: the tensor reaches beyond its stored values");
  if (tensor.offset < 0 || tensor.offset > storage_elements) return bad;
  int64_t last = tensor.offset;
  int64_t count = 1;
  for (size_t d = 0; d < 2; ++d) {
    const int64_t size = tensor.sizes[d];
    const int64_t stride = tensor.strides[d];
    if (size < 1 || size > storage_elements || stride < 1 || stride > storage_elements) {
      return size == 0 ? absl::InvalidArgumentError("holds an empty tensor") : bad;
    }
    last += (size - 1) * stride;  // both below 2^28: no overflow
    count *= size;
  }
  return last < storage_elements && count <= storage_elements ? absl::OkStatus() : bad;
}

}  // namespace

absl::StatusOr<PtMatrix> ParsePtMatrix(std::span<const uint8_t> bytes) {
  constexpr std::array<uint8_t, 4> kZip = {'P', 'K', 3, 4};
  if (!StartsWith(bytes, kZip)) return NotZip(bytes);
  ASSIGN_OR_RETURN(const std::vector<ZipEntry> entries, ReadStoredZip(bytes));

  constexpr char kPickleName[] = "/data.pkl";
  const auto pickle = std::find_if(entries.begin(), entries.end(),
                                   [&](const ZipEntry& entry) { return entry.name.ends_with(kPickleName); });
  if (pickle == entries.end())
    return absl::InvalidArgumentError("is a zip archive, but none that torch.save wrote");
  const std::string folder = pickle->name.substr(0, pickle->name.size() - std::strlen(kPickleName));
  const ZipEntry* order = Find(entries, folder + "/byteorder");  // missing in files of older versions
  if (order != nullptr && !std::ranges::equal(order->bytes, std::string("little"))) {
    return absl::InvalidArgumentError("was saved on a big-endian machine, which is not supported");
  }

  ASSIGN_OR_RETURN(const PickledTensor tensor, ParseTensorPickle(pickle->bytes));
  if (tensor.storage_type != "FloatStorage") {
    return absl::InvalidArgumentError(
        absl::StrCat("holds a tensor of ", tensor.storage_type, "; features are float32: save x.float()"));
  }
  if (tensor.sizes.size() != 2 || tensor.strides.size() != 2) {
    return absl::InvalidArgumentError(absl::StrCat("holds a tensor of ", tensor.sizes.size(),
                                                   " dimensions; features are (frames, n_mels)"));
  }
  const ZipEntry* storage = Find(entries, absl::StrCat(folder, "/data/", tensor.storage_key));
  if (storage == nullptr) return absl::DataLossError("is damaged: the tensor's values are missing");
  RETURN_IF_ERROR(CheckBounds(tensor, static_cast<int64_t>(storage->bytes.size() / sizeof(float))));
  return Gather(tensor, storage->bytes);
}

absl::StatusOr<PtMatrix> ReadPtMatrix(const std::string& path) {
  const auto reason = [&](const absl::Status& status) {
    return absl::IsNotFound(status) ? absl::NotFoundError("no such file") : status;
  };
  absl::StatusOr<UniqueFd> file = OpenForRead(path);
  if (!file.ok()) return reason(file.status());
  struct stat info {};
  if (fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode))
    return absl::InvalidArgumentError("is not a file");
  if (info.st_size > kMaxFileBytes)
    return absl::InvalidArgumentError("is larger than 1 GiB: not one utterance");
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  RETURN_IF_ERROR(PreadAll(file->get(), bytes.data(), bytes.size(), 0, path));
  return ParsePtMatrix(bytes);
}

}  // namespace data
