#include "trainer/telemetry/metrics_endpoint.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace trainer::telemetry {
namespace {

constexpr int kPortsTried = 100;
constexpr char kKey[] = "metrics.prometheus.address";

// A numeric IPv4 or IPv6 address and a port.
struct Address {
  std::string host;
  int port = 0;

  std::string ToString(int any_port) const {
    return absl::StrCat(absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host, ":", any_port);
  }
  bool IsLoopback() const { return absl::StartsWith(host, "127.") || host == "::1"; }
  bool IsEveryAddress() const { return host == "0.0.0.0" || host == "::"; }
};

struct FreeAddrinfo {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

absl::StatusOr<std::unique_ptr<addrinfo, FreeAddrinfo>> Lookup(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_family = absl::StrContains(host, ':') ? AF_INET6 : AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(kKey, ": cannot find the address of '", host, "': ",
                                                   gai_strerror(error), "; name an address of this host"));
  }
  return std::unique_ptr<addrinfo, FreeAddrinfo>(found);
}

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string host = colon == std::string::npos ? "" : text.substr(0, colon);
  const std::string port_text = colon == std::string::npos ? text : text.substr(colon + 1);
  Address address;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (!absl::SimpleAtoi(port_text, &address.port) || address.port < 0 || address.port > 65535 ||
      (absl::StrContains(host, ':') && !bracketed)) {
    return absl::InvalidArgumentError(absl::StrCat(
        kKey, ": '", text, "' is no address; set it to host:port (127.0.0.1:9400), to a port, or to ",
        "nothing for no endpoint"));
  }
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty()) host = "127.0.0.1";
  const auto found = Lookup(host, address.port);
  if (!found.ok()) return found.status();
  std::array<char, NI_MAXHOST> numeric{};
  if (const int error = getnameinfo((*found)->ai_addr, (*found)->ai_addrlen, numeric.data(), numeric.size(),
                                    nullptr, 0, NI_NUMERICHOST);
      error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(kKey, ": '", text, "': ", gai_strerror(error)));
  }
  address.host = numeric.data();
  return address;
}

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

}  // namespace

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<TextServer> server, std::string url)
    : server_(std::move(server)), url_(std::move(url)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Open(const std::string& text_address,
                                                                       const std::string& auth_file,
                                                                       std::function<std::string()> text,
                                                                       const WarnFunction& warn) {
  const auto address = ParseAddress(text_address);
  if (!address.ok()) return address.status();
  TextServer::Page page{"/metrics", "text/plain; version=0.0.4; charset=utf-8", "", std::move(text)};
  if (!auth_file.empty()) {
    const auto user = ReadAuthFile("metrics.prometheus.auth_file", auth_file, warn);
    if (!user.ok()) return user.status();
    page.authorization = absl::StrCat("Basic ", absl::Base64Escape(*user));
  }
  auto server = std::make_unique<TextServer>(std::move(page));

  const int last = address->port == 0 ? 0 : std::min(address->port + kPortsTried, 65535);
  int port = 0;
  for (int tried = address->port; port == 0 && tried <= last; ++tried) {
    const int error = server->Listen(address->host, tried);
    if (error != EADDRINUSE && error != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(kKey, ": cannot listen on ", address->ToString(tried), ": ", std::strerror(error),
                       "; name an address of this host, such as 127.0.0.1, and a port that you may use"));
    }
    port = server->port();
  }
  if (port == 0) {
    return absl::InvalidArgumentError(absl::StrCat(kKey, ": ports ", address->port, " to ", last, " of ",
                                                   address->host, " are all taken; set another one"));
  }
  server->Start();
  const std::string url = absl::StrCat(
      "http://", address->IsEveryAddress() ? absl::StrCat(HostName(), ":", port) : address->ToString(port),
      "/metrics");
  if (address->port != 0 && port != address->port) {
    warn(absl::StrCat(kKey, ": port ", address->port, " is taken, so the metrics are at ", url));
  }
  if (!address->IsLoopback() && auth_file.empty()) {
    warn(absl::StrCat(kKey, ": everyone who reaches ", address->ToString(port),
                      " can read the metrics; set metrics.prometheus.auth_file to ask for a password"));
  }
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(server), url));
}

}  // namespace trainer::telemetry
