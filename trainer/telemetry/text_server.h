// An HTTP server for one page of text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

namespace trainer::telemetry {

// Answers GET and HEAD of one path, on a thread of its own that receives no signals. A client gets one answer
// a connection, two seconds for all of it, and 8 KiB for its request; 32 are served at a time, more are
// turned away. So none can hold up another, or the end of the program, or take memory.
//
// Ours, and no library's: prometheus-cpp's Exposer starts threads with stacks of 100 kB, which beside
// LibTorch are smaller than the thread-local variables that must fit into them; and the small servers that
// there are limit the time between two bytes, not that of a request.
class TextServer {
 public:
  struct Page {
    std::string path;                   // "/metrics"
    std::string content_type;           // of the text
    std::string authorization;          // the header that clients must send; empty: none
    std::function<std::string()> text;  // makes an answer; called by the server's thread
  };

  explicit TextServer(Page page) : page_(std::move(page)) {}
  // Ends at once; answers that are under way are broken off.
  ~TextServer();
  TextServer(const TextServer&) = delete;
  TextServer& operator=(const TextServer&) = delete;

  // Listens on a numeric IPv4 or IPv6 address; port 0 is any free one. Returns 0 or the errno of why not.
  int Listen(const std::string& host, int port);
  // After Listen().
  int port() const { return port_; }
  void Start();

 private:
  struct Client;
  void Serve();
  void Read(Client& client) const;
  std::string Answer(const std::string& request) const;

  const Page page_;
  int listener_ = -1;
  int port_ = 0;
  int stop_[2] = {-1, -1};  // a pipe; closing its end wakes the thread up to end
  std::thread thread_;
};

}  // namespace trainer::telemetry
