// What lies in a folder in which a data set is to be written: whose it is, and whether it may go.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace data {

// Makes `folder` ready for a new data set and marks it as unfinished (kUnfinishedName), durably, before
// anything is taken away. Removes the shards of the data set that `overwrite` gives up, and without it those
// that a marked folder holds: what a killed writer left. Only files of a shard's exact name, or its temporary
// one, that hold what this program writes are ever removed. The caller holds the folder's lock.
// kAlreadyExists names the file in the way and says what to do; then nothing has changed.
absl::Status PrepareFolder(const std::string& folder, bool overwrite);

// Removes the unfinished data set of `folder`, which PrepareFolder has marked: dataset.json, shards and mark.
absl::Status RemoveUnfinished(const std::string& folder);

}  // namespace data
