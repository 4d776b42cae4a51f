#include "trainer/telemetry/metrics_endpoint.h"

#include <httplib.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
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

// Not SO_REUSEPORT, which the library would set: two runs would share a port.
void SetSocketOptions(int fd) {
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

// Why one cannot listen there: an errno; 0 where one can.
int ListenError(const Address& address, int port) {
  const auto found = Lookup(address.host, port);
  if (!found.ok()) return EADDRNOTAVAIL;
  const int fd = socket((*found)->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  SetSocketOptions(fd);
  const bool listens = bind(fd, (*found)->ai_addr, (*found)->ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = listens ? 0 : errno;
  close(fd);
  return error;
}

// The header that a client must send to be let in.
absl::StatusOr<std::string> ReadAuthorization(const std::string& path, const WarnFunction& warn) {
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
  return absl::StrCat("Basic ", absl::Base64Escape(line));
}

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

}  // namespace

// cpp-httplib and not prometheus-cpp's Exposer: that one's server, civetweb, gives its threads stacks of 100
// kB, and beside LibTorch, whose thread-local variables take more than that of each stack, none can be
// started.
class MetricsEndpoint::Server {
 public:
  explicit Server(std::function<std::string()> text) : text_(std::move(text)) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(2); };
    // One answer a connection, and little time to ask for it: none may keep a thread for long.
    server_.set_keep_alive_max_count(1);
    server_.set_keep_alive_timeout(2);
    server_.set_read_timeout(2);
    server_.set_write_timeout(2);
    server_.set_payload_max_length(1024);
    server_.set_socket_options([](socket_t fd) { SetSocketOptions(fd); });
    server_.Get("/metrics", [this](const auto& request, auto& response) { Answer(request, response); });
  }
  ~Server() {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

  // `authorization` is the header that clients must send; empty: none.
  void RequireAuthorization(std::string authorization) { authorization_ = std::move(authorization); }

  // The port; 0 where it is taken, or another reason that ListenError() tells.
  int Bind(const std::string& host, int port) {
    if (port == 0) return std::max(0, server_.bind_to_any_port(host));
    return server_.bind_to_port(host, port) ? port : 0;
  }

  // After Bind().
  void Start() {
    const NoSignals no_signals;
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    // Before that, stop() would have nothing to stop.
    while (!server_.is_running()) std::this_thread::yield();
  }

 private:
  void Answer(const httplib::Request& request, httplib::Response& response) const {
    if (!authorization_.empty() && request.get_header_value("Authorization") != authorization_) {
      response.status = 401;
      response.set_header("WWW-Authenticate", "Basic realm=\"metrics of trainer\"");
      return;
    }
    response.set_content(text_(), "text/plain; version=0.0.4; charset=utf-8");
  }

  const std::function<std::string()> text_;
  std::string authorization_;
  httplib::Server server_;
  std::thread thread_;
};

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Server> server, std::string url)
    : server_(std::move(server)), url_(std::move(url)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Open(const std::string& text_address,
                                                                       const std::string& auth_file,
                                                                       std::function<std::string()> text,
                                                                       const WarnFunction& warn) {
  const auto address = ParseAddress(text_address);
  if (!address.ok()) return address.status();
  auto server = std::make_unique<Server>(std::move(text));
  if (!auth_file.empty()) {
    auto authorization = ReadAuthorization(auth_file, warn);
    if (!authorization.ok()) return authorization.status();
    server->RequireAuthorization(*std::move(authorization));
  }

  const int last = address->port == 0 ? 0 : std::min(address->port + kPortsTried, 65535);
  int port = 0;
  for (int tried = address->port; port == 0 && tried <= last; ++tried) {
    port = server->Bind(address->host, tried);
    if (port != 0) break;
    // No error: it was taken, and is free again.
    if (const int error = ListenError(*address, tried); error != EADDRINUSE && error != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(kKey, ": cannot listen on ", address->ToString(tried), ": ", std::strerror(error)));
    }
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
