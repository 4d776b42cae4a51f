// decode_recording IN OUT: writes what `mels extract` computes features of, as raw float32 samples at 16 kHz.
#include <cstdio>
#include <fstream>

#include "data/audio_reader.h"
#include "data/log_mel.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: decode_recording IN OUT\n");
    return 2;
  }
  const auto audio = data::ReadAudio(argv[1], data::kMelSampleRate);
  if (!audio.ok()) {
    std::fprintf(stderr, "%s: %s\n", argv[1], std::string(audio.status().message()).c_str());
    return 2;
  }
  std::ofstream out(argv[2], std::ios::binary);
  out.write(reinterpret_cast<const char*>(audio->samples.data()),
            static_cast<std::streamsize>(audio->samples.size() * sizeof(float)));
  return out.flush() ? 0 : 1;
}
