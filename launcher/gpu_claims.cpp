#include "launcher/gpu_claims.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launcher/error.h"

namespace launcher::internal {
std::string GpuClaim::Encode() const {
  return absl::StrJoin(std::vector<std::string>{requested, absl::StrCat(threads), host, absl::StrCat(visible),
                                                absl::StrCat(index), gpu, why_none, unusable ? "1" : "0"},
                       std::string(1, '\0'));
}

GpuClaim GpuClaim::Decode(const std::string& text) {
  const std::vector<std::string> fields = absl::StrSplit(text, '\0');
  GpuClaim claim;
  LAUNCHER_REQUIRE(fields.size() == 8 && absl::SimpleAtoi(fields[1], &claim.threads) &&
                       absl::SimpleAtoi(fields[3], &claim.visible) &&
                       absl::SimpleAtoi(fields[4], &claim.index),
                   "Do all ranks run the same version of this program?");
  claim.requested = fields[0];
  claim.host = fields[2];
  claim.gpu = fields[5];
  claim.why_none = fields[6];
  claim.unusable = fields[7] == "1";
  return claim;
}

absl::StatusOr<Verdict> JudgeClaims(const std::vector<GpuClaim>& claims, bool may_share) {
  const GpuClaim& first = claims.front();
  for (size_t rank = 0; rank < claims.size(); ++rank) {
    const GpuClaim& claim = claims[rank];
    if (claim.requested != "auto" && claim.requested != "cpu" && claim.requested != "cuda") {
      return absl::InvalidArgumentError(
          absl::StrCat("device '", claim.requested, "' is unknown: use auto, cpu or cuda"));
    }
    if (claim.threads < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("threads must be 0 (this rank's share of the cores) or more, not ", claim.threads));
    }
    if (claim.requested != first.requested) {
      return absl::InvalidArgumentError(absl::StrCat("rank 0 asks for device '", first.requested, "', rank ",
                                                     rank, " for '", claim.requested,
                                                     "': give all ranks the same configuration"));
    }
  }
  if (first.requested == "cpu") return Verdict::kCpu;

  const GpuClaim* with = nullptr;
  const GpuClaim* without = nullptr;
  for (const GpuClaim& claim : claims) (claim.visible > 0 ? with : without) = &claim;
  const auto broken =
      std::find_if(claims.begin(), claims.end(), [](const GpuClaim& claim) { return claim.unusable; });
  if (broken != claims.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no GPU can be used on ", broken->host, ", which has NVIDIA's driver: ", broken->why_none,
        ": install the program there with all its libraries, or set train.device=cpu (evaluate: "
        "--device cpu)"));
  }
  if (with == nullptr && first.requested == "auto") return Verdict::kCpu;
  if (without != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no GPU for a rank on ", without->host, " (", without->why_none, ")",
        with == nullptr ? "" : absl::StrCat(", while ranks on ", with->host, " see ", with->visible),
        ": set train.device=cpu (evaluate: --device cpu), or start only where every rank has a GPU"));
  }

  std::map<std::pair<std::string, std::string>, size_t> owners;  // (host, GPU) -> rank
  std::map<std::string, int> ranks_on;
  for (const GpuClaim& claim : claims) ++ranks_on[claim.host];
  for (size_t rank = 0; rank < claims.size(); ++rank) {
    const GpuClaim& claim = claims[rank];
    const auto [owner, is_new] = owners.try_emplace({claim.host, claim.gpu}, rank);
    if (is_new) continue;
    if (may_share) return Verdict::kGpuShared;
    return absl::InvalidArgumentError(absl::StrCat(
        ranks_on[claim.host], " ranks on ", claim.host, ", but rank ", rank, " sees ", claim.visible,
        claim.visible == 1 ? " GPU" : " GPUs", " there and would share one with rank ", owner->second,
        ": start at most as many ranks on a host as it has GPUs (mpirun -np, --map-by ppr:N:node), or use "
        "train.device=cpu (evaluate: --device cpu)"));
  }
  return Verdict::kGpuEach;
}

}  // namespace launcher::internal
