#include "trainer/preflight/versions.h"

#include <elf.h>
#include <gnu/libc-version.h>
#include <hdf5.h>
#include <link.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <array>
#include <cstring>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/checksum.h"
#include "data/files.h"
#include "launcher/control.h"
#include "launcher/versions.h"
#include "trainer/preflight/cpu.h"
#include "trainer/preflight/ranks.h"
#include "trainer/version.h"

namespace trainer::preflight {
namespace {

struct Item {
  const char* key;   // in the JSON
  const char* name;  // for people
  Level mixed;       // what it is where ranks differ
  const char* advice;
  bool may_lack = false;  // ranks without it do not differ from others: only those who use it need the same
};

constexpr char kSameProgram[] = "install the same build on all hosts, and start that everywhere";
constexpr char kSameLibrary[] =
    "give all hosts the same version (compare `ldd` of trainer and of libtrainer_cuda.so there)";
constexpr std::array<Item, 11> kItems = {{
    {"trainer", "trainer", Level::kError, kSameProgram},
    {"build", "the program's checksum", Level::kError, kSameProgram},
    {"libtorch", "LibTorch", Level::kError, kSameLibrary},
    {"mpi", "MPI", Level::kError, kSameLibrary},
    {"nccl", "NCCL", Level::kError, kSameLibrary, true},
    {"cuda_runtime", "CUDA", Level::kError, kSameLibrary, true},
    {"hdf5", "HDF5", Level::kError, kSameLibrary},
    {"cuda_driver", "the CUDA version of the driver", Level::kWarning,
     "install one driver on all hosts: other kernels may be chosen, and other bits come out"},
    {"cpu", "the processor", Level::kWarning,
     "the slowest kind sets the pace, and a model's bits depend on the kind; take hosts of one kind if you "
     "can"},
    {"libc", "the C library", Level::kOk, ""},
    {"kernel", "the kernel", Level::kOk, ""},
}};

// The build id that the linker has given to a loaded library, in hexadecimal digits; empty where it has none.
std::string BuildIdOf(const dl_phdr_info& library) {
  for (int i = 0; i < library.dlpi_phnum; ++i) {
    const auto& segment = library.dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const auto address = library.dlpi_addr + segment.p_vaddr;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader tells it as a number.
    const auto* at = reinterpret_cast<const char*>(address);
    const auto* end = at + segment.p_memsz;
    const size_t padding = segment.p_align == 8 ? 7 : 3;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* name = at + sizeof note;
      const char* content = name + ((note.n_namesz + padding) & ~padding);
      const char* next = content + ((note.n_descsz + padding) & ~padding);
      if (next > end) break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        std::string id;
        for (size_t byte = 0; byte < note.n_descsz; ++byte) {
          absl::StrAppend(&id, absl::Hex(static_cast<unsigned char>(content[byte]), absl::kZeroPad2));
        }
        return id;
      }
      at = next;
    }
  }
  return "";
}

// What tells builds of LibTorch apart: a few digits of a checksum over the build ids of its loaded libraries.
std::string LibTorchBuild() {
  std::map<std::string, std::string> ids;
  dl_iterate_phdr(
      [](dl_phdr_info* library, size_t, void* data) {
        const std::string path = library->dlpi_name;
        const auto name = path.substr(path.rfind('/') + 1);
        // Not those that come with the part for GPUs: a host without any need not differ.
        if (name == "libtorch_cpu.so" || name == "libc10.so") {
          (*static_cast<std::map<std::string, std::string>*>(data))[name] = BuildIdOf(*library);
        }
        return 0;
      },
      &ids);
  const auto text = absl::StrJoin(ids, ",", absl::PairFormatter("="));
  return absl::StrFormat("%s (%08x)", TORCH_VERSION, data::Checksum(text.data(), text.size()) >> 32);
}

// Of the program's file and, where it lies in its place, of the part for GPUs.
std::string ProgramChecksum(const std::string& cuda_part) {
  auto program = data::ReadFile("/proc/self/exe");
  if (!program.ok()) return "unreadable";
  if (const auto part = data::ReadFile(cuda_part); part.ok()) *program += *part;
  return absl::StrFormat("%016x", data::Checksum(program->data(), program->size()));
}

std::string HdfVersion() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "";
  return absl::StrCat(major, ".", minor, ".", release);
}

nlohmann::json OwnVersions(const launcher::World& world) {
  const auto loaded = launcher::QueryLoadedVersions();
  utsname system{};
  uname(&system);
  return {
      {"host", world.host},
      {"trainer", kVersionLine},
      {"build", ProgramChecksum(loaded.cuda_part)},
      {"libtorch", LibTorchBuild()},
      {"mpi", loaded.mpi},
      {"nccl", loaded.nccl},
      {"cuda_runtime", loaded.cuda_runtime},
      {"cuda_driver", loaded.cuda_driver},
      {"hdf5", HdfVersion()},
      {"cpu", CpuModel()},
      {"libc", absl::StrCat("glibc ", gnu_get_libc_version())},
      {"kernel", absl::StrCat(system.sysname, " ", system.release)},
  };
}

std::string ValueOrNone(const std::string& value) { return value.empty() ? "none" : value; }

void JudgeVersions(const std::vector<nlohmann::json>& ranks, Report& report) {
  const auto hosts = TextOf(ranks, "host");
  auto& figures = report.figures("versions");
  std::vector<std::string> same;
  for (const auto& item : kItems) {
    const auto groups = GroupByValue(TextOf(ranks, item.key));
    auto listed = nlohmann::ordered_json::array();
    std::vector<std::string> texts;
    std::vector<std::string> compared;
    for (const auto& group : groups) {
      if (!group.value.empty() || !item.may_lack) compared.push_back(group.value);
      listed.push_back({{"value", group.value}, {"ranks", group.ranks}});
      texts.push_back(absl::StrCat(ValueOrNone(group.value), " for ", NameRanks(group.ranks, hosts)));
    }
    figures[item.key] = std::move(listed);
    if (compared.size() <= 1) {
      if (!compared.empty() && !compared[0].empty()) {
        // The others' values say what they are of.
        const bool names_itself = std::string(item.key) == "trainer" || std::string(item.key) == "mpi" ||
                                  item.mixed == Level::kOk || std::string(item.key) == "cpu";
        same.push_back(absl::StrCat(names_itself ? "" : absl::StrCat(item.name, " "), compared[0]));
      }
      continue;
    }
    const auto text = absl::StrCat(item.name, " is not the same for all ranks: ", absl::StrJoin(texts, ", "));
    if (item.mixed == Level::kError) report.Error(text, item.advice);
    if (item.mixed == Level::kWarning) report.Warn(text, item.advice);
    if (item.mixed == Level::kOk) report.Ok(text);
  }
  report.Ok(absl::StrCat(ranks.size() == 1 ? "" : "the same for all ranks: ", absl::StrJoin(same, ", ")));
}

}  // namespace

bool CheckVersions(const launcher::World& world, Report& report) {
  report.Begin("versions");
  const auto mine = OwnVersions(world);
  const auto ranks = GatherFacts(mine);
  if (world.rank == 0) JudgeVersions(ranks, report);
  const auto program = mine["trainer"].get<std::string>() + mine["build"].get<std::string>();
  return launcher::AllEqual(data::Checksum(program.data(), program.size()));
}

}  // namespace trainer::preflight
