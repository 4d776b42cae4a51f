#include "launcher/gpu_claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/error.h"

namespace launcher::internal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

GpuClaim Claim(const std::string& host, int visible, int index, const std::string& gpu,
               const std::string& requested = "auto") {
  GpuClaim claim;
  claim.requested = requested;
  claim.host = host;
  claim.visible = visible;
  claim.index = index;
  claim.gpu = gpu;
  if (visible == 0) claim.why_none = "no driver";
  return claim;
}

// The message of a kInvalidArgument, or what came instead.
std::string Message(const absl::StatusOr<Verdict>& verdict) {
  if (verdict.ok()) return "accepted";
  EXPECT_EQ(verdict.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(verdict.status().message().find('\n'), absl::string_view::npos);
  return std::string(verdict.status().message());
}

TEST(JudgeClaimsTest, OneGpuEach) {
  EXPECT_EQ(*JudgeClaims({Claim("a", 2, 0, "x"), Claim("a", 2, 1, "y"), Claim("b", 1, 0, "z")}, false),
            Verdict::kGpuEach);
}

TEST(JudgeClaimsTest, ADriverWithoutThePartForGpus) {
  auto broken = Claim("b", 0, -1, "");
  broken.why_none = "cannot open libtorch_cuda.so";
  broken.unusable = true;
  EXPECT_TRUE(GpuClaim::Decode(broken.Encode()).unusable);
  const auto well = Claim("a", 0, -1, "");
  EXPECT_THAT(Message(JudgeClaims({well, broken}, false)),
              AllOf(HasSubstr("on b, which has NVIDIA's driver"), HasSubstr("libtorch_cuda.so"),
                    HasSubstr("train.device=cpu")));
  EXPECT_EQ(*JudgeClaims({well, well}, false), Verdict::kCpu);
}

TEST(JudgeClaimsTest, TasksThatSeeOnlyTheirOwnGpu) {
  EXPECT_EQ(*JudgeClaims({Claim("a", 1, 0, "x", "cuda"), Claim("a", 1, 0, "y", "cuda")}, false),
            Verdict::kGpuEach);
}

TEST(JudgeClaimsTest, FewerGpusThanRanks) {
  const std::vector<GpuClaim> claims = {Claim("b", 1, 0, "z"), Claim("a", 2, 0, "x"), Claim("a", 2, 1, "y"),
                                        Claim("a", 2, 0, "x")};
  EXPECT_THAT(Message(JudgeClaims(claims, false)),
              AllOf(HasSubstr("3 ranks on a"), HasSubstr("rank 3 sees 2 GPUs"), HasSubstr("with rank 1"),
                    HasSubstr("mpirun")));
  EXPECT_EQ(*JudgeClaims(claims, true), Verdict::kGpuShared);
}

TEST(JudgeClaimsTest, LeaveToShareIsNotSharing) {
  EXPECT_EQ(*JudgeClaims({Claim("a", 2, 0, "x"), Claim("a", 2, 1, "y")}, true), Verdict::kGpuEach);
}

TEST(JudgeClaimsTest, NoGpuAnywhere) {
  EXPECT_EQ(*JudgeClaims({Claim("a", 0, -1, ""), Claim("b", 0, -1, "")}, false), Verdict::kCpu);
  EXPECT_THAT(
      Message(JudgeClaims({Claim("a", 0, -1, "", "cuda")}, false)),
      AllOf(HasSubstr("no GPU"), HasSubstr("on a"), HasSubstr("no driver"), HasSubstr("train.device=cpu")));
}

TEST(JudgeClaimsTest, SomeHostsWithoutGpu) {
  EXPECT_THAT(Message(JudgeClaims({Claim("a", 4, 0, "x"), Claim("b", 0, -1, "")}, false)),
              AllOf(HasSubstr("no GPU for a rank on b"), HasSubstr("ranks on a see 4")));
}

TEST(JudgeClaimsTest, CpuNeedsNothing) {
  EXPECT_EQ(*JudgeClaims({Claim("a", 0, -1, "", "cpu"), Claim("a", 0, -1, "", "cpu")}, false), Verdict::kCpu);
}

TEST(JudgeClaimsTest, WrongWords) {
  EXPECT_THAT(Message(JudgeClaims({Claim("a", 1, 0, "x", "gpu")}, false)),
              AllOf(HasSubstr("'gpu'"), HasSubstr("auto, cpu or cuda")));
  EXPECT_THAT(Message(JudgeClaims({Claim("a", 1, 0, "x", "cuda"), Claim("b", 1, 0, "y", "cpu")}, false)),
              AllOf(HasSubstr("rank 1"), HasSubstr("'cpu'")));
  GpuClaim claim = Claim("a", 1, 0, "x");
  claim.threads = -1;
  EXPECT_THAT(Message(JudgeClaims({claim}, false)), AllOf(HasSubstr("threads"), HasSubstr("-1")));
}

TEST(GpuClaimTest, ComesBackFromItsText) {
  GpuClaim claim = Claim("node 7", 3, 2, "00ff");
  claim.threads = 5;
  claim.why_none = "no, \"none\"; really: 0";
  const GpuClaim back = GpuClaim::Decode(claim.Encode());
  EXPECT_EQ(back.requested, claim.requested);
  EXPECT_EQ(back.threads, claim.threads);
  EXPECT_EQ(back.host, claim.host);
  EXPECT_EQ(back.visible, claim.visible);
  EXPECT_EQ(back.index, claim.index);
  EXPECT_EQ(back.gpu, claim.gpu);
  EXPECT_EQ(back.why_none, claim.why_none);
  EXPECT_THROW(GpuClaim::Decode("other"), Error);
}

}  // namespace
}  // namespace launcher::internal
