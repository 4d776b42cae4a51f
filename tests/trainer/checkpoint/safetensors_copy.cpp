// safetensors_copy IN OUT: a file through our reader and our writer.
#include <iostream>

#include "trainer/checkpoint/safetensors.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: safetensors_copy IN OUT\n";
    return 2;
  }
  const absl::StatusOr<trainer::checkpoint::Safetensors> file = trainer::checkpoint::ReadSafetensors(argv[1]);
  if (!file.ok()) {
    std::cerr << file.status().message() << "\n";
    return 2;
  }
  const absl::Status status = trainer::checkpoint::WriteSafetensors(argv[2], file->tensors, file->metadata);
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return 0;
}
