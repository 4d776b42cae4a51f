#pragma once

// Names and numbers of the on-disk format; FORMAT.md tells the whole.

#include <cstdint>

namespace data {

inline constexpr int64_t kSchemaVersion = 1;
inline constexpr char kManifestFormat[] = "mel-dataset";
inline constexpr char kShardFormat[] = "mel-shard";
inline constexpr char kManifestName[] = "dataset.json";
// The mark of a folder whose writer is at work, or was killed.
inline constexpr char kUnfinishedName[] = "dataset.json.unfinished";

// A line of JSON in front of the HDF5 superblock, zero-padded. It tells what the file is without HDF5. As
// large as the alignment that the shards use, which HDF5 demands.
inline constexpr int64_t kUserBlockBytes = 4096;

// Datasets, all contiguous and little-endian.
inline constexpr char kFrames[] = "frames";        // (sum of T, n_mels) float32 or float16
inline constexpr char kOffsets[] = "offsets";      // (N + 1) int64: utterance u is frames [o[u], o[u+1])
inline constexpr char kSpeaker[] = "speaker";      // (N) int32, -1 = unlabelled
inline constexpr char kUtterance[] = "utterance";  // (N) fixed-width UTF-8, zero-padded
inline constexpr char kFrameChecksum[] =
    "frames_checksum";  // (N) uint64: XXH3-64 of the utterance's stored bytes

// Attributes of the root group, all int64 but the checksum.
inline constexpr char kAttrSchema[] = "schema_version";
inline constexpr char kAttrShard[] = "shard";
inline constexpr char kAttrCount[] = "utterances";
inline constexpr char kAttrChecksum[] = "checksum";  // uint64

inline constexpr int64_t kMaxNameBytes = 4096;

}  // namespace data
