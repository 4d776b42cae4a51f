#pragma once

// The hosts that a run may use: read from a hostfile and --host, and left out where they are lost.

#include <set>
#include <string>
#include <vector>

namespace launcher::tool {

// Names, in order and each once, in the text of a hostfile ("node1 slots=8", "user@node1:4"; # begins a
// comment) or in --host's value ("node1:8,node2").
std::vector<std::string> HostsInFile(const std::string& text);
std::vector<std::string> HostsInList(const std::string& list);

// The same text or value without what names one of `lost`.
std::string FileWithout(const std::string& text, const std::set<std::string>& lost);
std::string ListWithout(const std::string& list, const std::set<std::string>& lost);

}  // namespace launcher::tool
