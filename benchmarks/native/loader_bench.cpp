// The training loader alone: `loader_bench loader|pread DATASET SPLIT BATCH CROP_FRAMES SECONDS` reads
// batches for so long and prints one line of JSON. `pread` reads the bytes of the same crops, in the same
// order, with nothing but pread() into one buffer: the floor under any loader of this format.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/loader.h"

namespace {

constexpr uint64_t kSeed = 1;

struct Arguments {
  std::string mode, folder, split;
  int64_t batch, crop_frames;
  double seconds;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Calls `next_batch` until `seconds` have passed, and prints what came of it.
void Measure(const Arguments& arguments, const std::function<void()>& next_batch) {
  using Clock = std::chrono::steady_clock;
  constexpr int kWarmUpBatches = 8;
  for (int i = 0; i < kWarmUpBatches; ++i) next_batch();
  int64_t batches = 0;
  const double cpu = CpuSeconds();
  const auto start = Clock::now();
  double elapsed = 0;
  while (elapsed < arguments.seconds) {
    next_batch();
    ++batches;
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  }
  const auto utterances = static_cast<double>(batches * arguments.batch);
  std::printf(
      "{\"utterances_per_second\": %.6g, \"cpu_seconds_per_utterance\": %.6g, \"resident_bytes\": %.0f}\n",
      utterances / elapsed, (CpuSeconds() - cpu) / utterances, ResidentBytes());
}

void MeasureLoader(const Arguments& arguments, std::shared_ptr<const data::Dataset> dataset,
                   const data::Sampler& sampler) {
  data::TrainLoader::Options options;
  options.crop_frames = arguments.crop_frames;
  options.seed = kSeed;
  data::TrainLoader loader(std::move(dataset), sampler, options, 0);
  Measure(arguments, [&] {
    const auto batch = loader.Next();
    if (!batch.ok()) throw std::runtime_error(std::string(batch.status().message()));
  });
}

void MeasurePread(const Arguments& arguments, const data::Dataset& dataset, const data::Sampler& sampler) {
  const auto& manifest = dataset.manifest();
  std::vector<int> files;
  std::vector<int64_t> first = {0};  // utterance of each shard
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    files.push_back(open((arguments.folder + "/" + data::ShardName(static_cast<int64_t>(i))).c_str(),
                         O_RDONLY | O_CLOEXEC));
    if (files.back() < 0) throw std::runtime_error("cannot open shard " + std::to_string(i));
    first.push_back(first.back() + manifest.shards[i].utterances);
  }
  // As the loader knows them: where each utterance's frames begin.
  const int64_t frame_bytes = dataset.n_mels() * static_cast<int64_t>(sizeof(float));
  std::vector<int64_t> at(static_cast<size_t>(dataset.size()));
  for (size_t shard = 0; shard < files.size(); ++shard) {
    int64_t byte = manifest.shards[shard].frames_offset;
    for (int64_t u = first[shard]; u < first[shard + 1]; ++u) {
      at[static_cast<size_t>(u)] = byte;
      byte += dataset.frames(u) * frame_bytes;
    }
  }
  std::vector<char> buffer(static_cast<size_t>(arguments.batch * arguments.crop_frames * frame_bytes));
  std::vector<int64_t> order;
  int64_t epoch = -1, batch = sampler.batches_per_epoch();
  Measure(arguments, [&] {
    if (batch == sampler.batches_per_epoch()) {
      order = sampler.Order(++epoch);
      batch = 0;
    }
    char* out = buffer.data();
    for (const int64_t u : data::Slice(order, arguments.batch, batch, 0, 1, 1, 0)) {
      const int64_t frames = dataset.frames(u), count = std::min(frames, arguments.crop_frames);
      const int64_t start = data::CropStart(kSeed, epoch, u, frames, arguments.crop_frames);
      const auto shard =
          static_cast<size_t>(std::upper_bound(first.begin(), first.end(), u) - first.begin() - 1);
      const auto bytes = static_cast<size_t>(count * frame_bytes);
      if (pread(files[shard], out, bytes, at[static_cast<size_t>(u)] + start * frame_bytes) !=
          static_cast<ssize_t>(bytes)) {
        throw std::runtime_error("a shard ends early");
      }
      out += bytes;
    }
    ++batch;
  });
  for (const int file : files) close(file);
}

void Run(const Arguments& arguments) {
  auto dataset = data::Dataset::Open(arguments.folder);
  if (!dataset.ok()) throw std::runtime_error(std::string(dataset.status().message()));
  auto split = (*dataset)->Split(arguments.split);
  if (!split.ok()) throw std::runtime_error(std::string(split.status().message()));
  if ((*dataset)->manifest().dtype != data::DType::kFloat32) throw std::runtime_error("wants float32 frames");
  const data::Sampler sampler(*std::move(split), kSeed, arguments.batch);
  if (arguments.mode == "loader") return MeasureLoader(arguments, *dataset, sampler);
  MeasurePread(arguments, **dataset, sampler);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (argc != 7 || (mode != "loader" && mode != "pread")) {
    std::fprintf(stderr, "usage: loader_bench loader|pread DATASET SPLIT BATCH CROP_FRAMES SECONDS\n");
    return 2;
  }
  try {
    Run({mode, argv[2], argv[3], std::atoll(argv[4]), std::atoll(argv[5]), std::atof(argv[6])});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "loader_bench: %s\n", error.what());
    return 1;
  }
}
