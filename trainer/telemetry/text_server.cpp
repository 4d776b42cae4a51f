#include "trainer/telemetry/text_server.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "trainer/telemetry/no_signals.h"

namespace trainer::telemetry {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kTimeForAll = std::chrono::seconds(2);
constexpr size_t kMostRequestBytes = 8192;
constexpr size_t kMostClients = 32;

std::string Response(const char* status, const std::string& headers, const std::string& body,
                     bool with_body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\n", headers, "Content-Length: ", body.size(),
                      "\r\nConnection: close\r\n\r\n", with_body ? body : "");
}

// The value of a header, without the space around it; empty where it is not there.
std::string Header(const std::vector<std::string>& lines, const char* name) {
  for (const auto& line : lines) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && absl::EqualsIgnoreCase(line.substr(0, colon), name)) {
      return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return "";
}

}  // namespace

struct TextServer::Client {
  explicit Client(int its_fd) : fd(its_fd) {}
  ~Client() { close(fd); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const int fd;
  const Clock::time_point deadline = Clock::now() + kTimeForAll;
  std::string request, answer;  // answer: what is still to be sent
  bool answered =
      false;  // the answer is made; once it is sent, input is only read away until the client ends
  bool gone = false;
};

TextServer::~TextServer() {
  if (stop_[1] >= 0) close(stop_[1]);
  if (thread_.joinable()) thread_.join();
  if (stop_[0] >= 0) close(stop_[0]);
  if (listener_ >= 0) close(listener_);
}

int TextServer::Listen(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* list = nullptr;
  if (getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &list) != 0) return EADDRNOTAVAIL;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> found(list, freeaddrinfo);
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  char service[NI_MAXSERV] = "";
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, kMostClients) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    const int error = errno;
    close(fd);
    return error;
  }
  getnameinfo(reinterpret_cast<sockaddr*>(&bound), size, nullptr, 0, service, sizeof service, NI_NUMERICSERV);
  listener_ = fd;
  port_ = std::atoi(service);
  return 0;
}

void TextServer::Start() {
  if (pipe2(stop_, O_CLOEXEC | O_NONBLOCK) != 0) return;  // no file descriptors left: then nobody is answered
  const NoSignals no_signals;
  thread_ = std::thread([this] { Serve(); });
}

void TextServer::Serve() {
  std::vector<std::unique_ptr<Client>> clients;
  for (;;) {
    std::vector<pollfd> polled = {{stop_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    int wait = -1;
    for (const auto& client : clients) {
      polled.push_back({client->fd, static_cast<int16_t>(client->answer.empty() ? POLLIN : POLLOUT), 0});
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(client->deadline - Clock::now());
      const int milliseconds = static_cast<int>(std::max<int64_t>(left.count(), 0));
      wait = wait < 0 ? milliseconds : std::min(wait, milliseconds);
    }
    if (poll(polled.data(), polled.size(), wait) < 0 && errno != EINTR) return;
    if (polled[0].revents != 0) return;
    for (size_t i = 0; i < clients.size(); ++i) {
      auto& client = *clients[i];
      if (polled[i + 2].revents != 0 && client.answer.empty()) {
        Read(client);
      } else if (polled[i + 2].revents != 0) {
        const ssize_t sent =
            send(client.fd, client.answer.data(), client.answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) client.gone = true;
        if (sent > 0) client.answer.erase(0, static_cast<size_t>(sent));
        // What the client may still be sending must not make the kernel take the answer back.
        if (client.answer.empty()) shutdown(client.fd, SHUT_WR);
      }
      if (Clock::now() >= client.deadline) client.gone = true;
    }
    clients.erase(
        std::remove_if(clients.begin(), clients.end(), [](const auto& client) { return client->gone; }),
        clients.end());
    if (polled[1].revents != 0) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0 && clients.size() < kMostClients) {
        clients.push_back(std::make_unique<Client>(fd));
      } else if (fd >= 0) {
        close(fd);
      } else if (errno == EMFILE || errno == ENFILE) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));  // it stays readable
      }
    }
  }
}

void TextServer::Read(Client& client) const {
  char bytes[4096];
  const ssize_t count = recv(client.fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) client.gone = true;
  if (count <= 0 || client.answered) return;
  client.request.append(bytes, static_cast<size_t>(count));
  const size_t end = client.request.find("\r\n\r\n");
  if (end != std::string::npos) {
    client.answer = Answer(client.request.substr(0, end));
  } else if (client.request.size() > kMostRequestBytes) {
    client.answer = Response("431 Request Header Fields Too Large", "", "", true);
  }
  client.answered = !client.answer.empty();
}

std::string TextServer::Answer(const std::string& request) const {
  const std::vector<std::string> lines = absl::StrSplit(request, "\r\n");
  const std::vector<std::string> words = absl::StrSplit(lines[0], ' ');
  if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1."))
    return Response("400 Bad Request", "", "", true);
  const bool get = words[0] == "GET";
  if (!get && words[0] != "HEAD") return Response("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "", true);
  if (words[1].substr(0, words[1].find('?')) != page_.path) return Response("404 Not Found", "", "", true);
  if (!page_.authorization.empty() && Header(lines, "Authorization") != page_.authorization) {
    return Response("401 Unauthorized", "WWW-Authenticate: Basic realm=\"metrics of trainer\"\r\n", "", true);
  }
  return Response("200 OK", absl::StrCat("Content-Type: ", page_.content_type, "\r\n"), page_.text(), get);
}

}  // namespace trainer::telemetry
