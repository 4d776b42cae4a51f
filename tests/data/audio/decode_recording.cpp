// decode_recording IN OUT [IN OUT]...: writes what `mels extract` computes features of, as raw float32
// samples at 16 kHz.
#include <cstdio>
#include <fstream>
#include <string>

#include "data/audio_reader.h"
#include "data/log_mel.h"

int main(int argc, char** argv) {
  if (argc < 3 || argc % 2 == 0) {
    std::fprintf(stderr, "usage: decode_recording IN OUT [IN OUT]...\n");
    return 2;
  }
  for (int i = 1; i < argc; i += 2) {
    const auto audio = data::ReadAudio(argv[i], data::kMelSampleRate);
    if (!audio.ok()) {
      std::fprintf(stderr, "%s: %s\n", argv[i], std::string(audio.status().message()).c_str());
      return 2;
    }
    std::ofstream out(argv[i + 1], std::ios::binary);
    out.write(reinterpret_cast<const char*>(audio->samples.data()),
              static_cast<std::streamsize>(audio->samples.size() * sizeof(float)));
    if (!out.flush()) return 1;
  }
  return 0;
}
