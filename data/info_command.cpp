// `mels info`.
#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/commands.h"
#include "data/dataset.h"
#include "data/speed_copies.h"
#include "data/status_macros.h"

namespace data {
namespace {

constexpr int kHistogramWidth = 40;

void PrintHistogram(const std::vector<int64_t>& sorted) {
  // Bins of like width: 100 frames, or more where lengths spread wide; the last one takes the tail.
  constexpr int64_t kBins = 14;
  const int64_t high = sorted[(sorted.size() - 1) * 99 / 100];
  const int64_t width = std::max<int64_t>(1, (high / kBins + 99) / 100 * 100);
  std::vector<int64_t> counts(kBins + 1);
  for (const int64_t frames : sorted) ++counts[static_cast<size_t>(std::min(frames / width, kBins))];
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  for (int64_t bin = 0; bin <= kBins; ++bin) {
    const int64_t count = counts[static_cast<size_t>(bin)];
    if (count == 0) continue;
    const std::string to = bin == kBins ? "     " : absl::StrFormat("-%-4d", (bin + 1) * width - 1);
    absl::PrintF("  %6d%s %9d %s\n", bin * width, to, count,
                 std::string(static_cast<size_t>((count * kHistogramWidth + most - 1) / most), '#'));
  }
}

std::string Hours(const Dataset& dataset, int64_t frames) {
  return absl::StrFormat(
      "%.2f h", static_cast<double>(frames) / dataset.manifest().front_end.frames_per_second() / 3600);
}

absl::Status RunInfo(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> dataset, Dataset::Open(folder));
  const Manifest& manifest = dataset->manifest();
  const FrontEnd& front_end = manifest.front_end;
  std::vector<int64_t> all, lengths;
  for (int64_t u = 0; u < dataset->size(); ++u) {
    all.push_back(u);
    lengths.push_back(dataset->frames(u));
  }
  std::sort(lengths.begin(), lengths.end());
  int64_t bytes = 0;
  for (const ShardInfo& shard : manifest.shards) bytes += shard.bytes;
  absl::PrintF("data set    %s\n", folder);
  absl::PrintF("utterances  %d\n", dataset->size());
  absl::PrintF("frames      %d (%s)\n", manifest.frames(), Hours(*dataset, manifest.frames()));
  absl::PrintF("mels        %d, %s\n", dataset->n_mels(), DTypeName(manifest.dtype));
  absl::PrintF("front end   %s: %d Hz, window %d, hop %d, %.0f to %.0f Hz, floor %g%s%s\n", front_end.source,
               front_end.sample_rate, front_end.n_fft, front_end.hop, front_end.f_min, front_end.f_max,
               front_end.floor, front_end.trim_silence ? ", silence trimmed" : "",
               front_end.normalize_db ? absl::StrFormat(", peak at %g dB", *front_end.normalize_db) : "");
  absl::PrintF("shards      %d, %.1f MiB\n", manifest.shards.size(), static_cast<double>(bytes) / (1 << 20));

  std::vector<int64_t> counts = dataset->CountBySpeaker(all);
  std::sort(counts.begin(), counts.end());
  absl::PrintF("speakers    %d", counts.size());
  if (!counts.empty()) {
    int64_t labelled = 0;
    for (const int64_t count : counts) labelled += count;
    absl::PrintF(", of %d to %d utterances, median %d; %d unlabelled", counts.front(), counts.back(),
                 counts[counts.size() / 2], dataset->size() - labelled);
  }
  absl::PrintF("\n");
  if (!manifest.speeds.empty()) {
    const auto copies =
        std::count_if(manifest.speakers.begin(), manifest.speakers.end(),
                      [&](const std::string& speaker) { return IsSpeedCopy(speaker, manifest.speeds); });
    absl::PrintF("            %d of them are copies at speed %s\n", copies,
                 absl::StrJoin(manifest.speeds, ", "));
  }
  absl::PrintF("splits\n");
  for (const auto& [name, ranges] : manifest.splits) {
    int64_t frames = 0;
    for (const Range& range : ranges) {
      for (int64_t u = range.begin; u < range.end; ++u) frames += dataset->frames(u);
    }
    absl::PrintF("  %-10s %9d utterances, %s\n", name, CountIndexes(ranges), Hours(*dataset, frames));
  }
  if (manifest.splits.empty()) absl::PrintF("  none\n");
  const size_t last = lengths.size() - 1;
  absl::PrintF("length      min %d, p10 %d, median %d, mean %.0f, p90 %d, p99 %d, max %d frames\n",
               lengths.front(), lengths[last / 10], lengths[last / 2],
               static_cast<double>(manifest.frames()) / static_cast<double>(lengths.size()),
               lengths[last * 9 / 10], lengths[last * 99 / 100], lengths.back());
  PrintHistogram(lengths);
  return absl::OkStatus();
}

}  // namespace

void AddInfoCommand(CLI::App& app, absl::Status* result) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("info", "Show what a data set holds");
  command->add_option("DST", *folder, "The data set")->required();
  command->callback([folder, result] { *result = RunInfo(*folder); });
}

}  // namespace data
