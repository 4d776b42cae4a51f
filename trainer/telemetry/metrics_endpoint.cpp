#include "trainer/telemetry/metrics_endpoint.h"

#include <netdb.h>
#include <netinet/in.h>
#include <prometheus/exposer.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "trainer/telemetry/no_signals.h"

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
    return absl::InvalidArgumentError(
        absl::StrCat(kKey, ": cannot find the address of '", host, "': ", gai_strerror(error)));
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

// Calls `use` with a new socket and the address as bind() and connect() want it. Returns the errno of what
// failed, or 0.
template <typename Use>
int WithSocket(const std::string& host, int port, const Use& use) {
  const auto found = Lookup(host, port);
  if (!found.ok()) return EADDRNOTAVAIL;
  const int fd = socket((*found)->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  const int error = use(fd, **found) == 0 ? 0 : errno;
  close(fd);
  return error;
}

// Why one cannot listen there: an errno; 0 where one can.
int ListenError(const Address& address, int port) {
  return WithSocket(address.host, port, [](int fd, const addrinfo& where) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    return bind(fd, where.ai_addr, where.ai_addrlen) == 0 ? listen(fd, 1) : -1;
  });
}

struct Credentials {
  std::string user, password;
};

absl::StatusOr<Credentials> ReadCredentials(const std::string& path, const WarnFunction& warn) {
  const auto error = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("metrics.prometheus.auth_file: ", path, what));
  };
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return error(" cannot be read");
  absl::string_view line = text;
  absl::ConsumeSuffix(&line, "\n");
  absl::ConsumeSuffix(&line, "\r");
  const size_t colon = line.find(':');
  if (colon == line.npos || colon == 0 || colon + 1 == line.size() || absl::StrContains(line, '\n')) {
    return error(" must hold one line user:password");
  }
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    warn(absl::StrCat("metrics.prometheus.auth_file: others can read the password in ", path,
                      "; chmod 600 it"));
  }
  return Credentials{std::string(line.substr(0, colon)), std::string(line.substr(colon + 1))};
}

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

// Listens on `port`; null where it is taken. Exposer's exception does not tell why it failed.
absl::StatusOr<std::unique_ptr<prometheus::Exposer>> TryPort(const Address& address, int port) {
  try {
    const NoSignals no_signals;
    return std::make_unique<prometheus::Exposer>(
        std::vector<std::string>{"listening_ports", address.ToString(port), "num_threads", "2",
                                 // A client that says nothing must not keep one of two threads for long.
                                 "request_timeout_ms", "3000"});
  } catch (const std::exception&) {
    // Its message is always the same; the cause follows.
  }
  const int error = ListenError(address, port);
  if (error == EADDRINUSE || error == 0) return nullptr;  // 0: it was taken, and is free again
  return absl::InvalidArgumentError(
      absl::StrCat(kKey, ": cannot listen on ", address.ToString(port), ": ", std::strerror(error)));
}

}  // namespace

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::string host,
                                 std::string url)
    : exposer_(std::move(exposer)), host_(std::move(host)), url_(std::move(url)) {}

MetricsEndpoint::~MetricsEndpoint() {
  // civetweb's thread that listens looks whether it is to stop only every two seconds, or when somebody
  // calls.
  const int port = exposer_->GetListeningPorts().at(0);
  std::atomic<bool> closed = false;
  std::thread closing([&] {
    exposer_.reset();
    closed = true;
  });
  while (!closed) {
    WithSocket(host_, port,
               [](int fd, const addrinfo& where) { return connect(fd, where.ai_addr, where.ai_addrlen); });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  closing.join();
}

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Open(
    const std::string& text, const std::string& auth_file,
    const std::weak_ptr<prometheus::Collectable>& metrics, const WarnFunction& warn) {
  auto address = ParseAddress(text);
  if (!address.ok()) return address.status();
  std::optional<Credentials> credentials;
  if (!auth_file.empty()) {
    auto read = ReadCredentials(auth_file, warn);
    if (!read.ok()) return read.status();
    credentials = *std::move(read);
  }

  std::unique_ptr<prometheus::Exposer> exposer;
  const int last = address->port == 0 ? 0 : std::min(address->port + kPortsTried, 65535);
  for (int port = address->port; exposer == nullptr && port <= last; ++port) {
    auto tried = TryPort(*address, port);
    if (!tried.ok()) return tried.status();
    exposer = *std::move(tried);
  }
  if (exposer == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(kKey, ": ports ", address->port, " to ", last, " of ",
                                                   address->host, " are all taken; set another one"));
  }
  const int port = exposer->GetListeningPorts().at(0);
  const std::string url = absl::StrCat(
      "http://", address->IsEveryAddress() ? absl::StrCat(HostName(), ":", port) : address->ToString(port),
      "/metrics");
  if (address->port != 0 && port != address->port) {
    warn(absl::StrCat(kKey, ": port ", address->port, " is taken, so the metrics are at ", url));
  }
  if (!address->IsLoopback() && !credentials) {
    warn(absl::StrCat(kKey, ": everyone who reaches ", address->ToString(port),
                      " can read the metrics; set metrics.prometheus.auth_file to ask for a password"));
  }
  if (credentials) {
    exposer->RegisterAuth(
        [own = *credentials](const std::string& user, const std::string& password) {
          return user == own.user && password == own.password;
        },
        "metrics of trainer");
  }
  exposer->RegisterCollectable(metrics);
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(exposer), address->host, url));
}

}  // namespace trainer::telemetry
