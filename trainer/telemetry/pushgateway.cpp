#include "trainer/telemetry/pushgateway.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

// libcurl itself and not prometheus-cpp's Gateway, which sets no time-outs: a gateway that accepts and says
// nothing would hold the thread forever.
namespace trainer::telemetry {
namespace {

constexpr long kTimeoutMilliseconds = 2000;

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct FreeEasy {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

// A part of a URL, or all of it; nothing where it is not there.
std::string Part(const Url& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, 0) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

// Keeps the beginning of an answer.
size_t KeepAnswer(char* bytes, size_t size, size_t count, void* answer) {
  auto& kept = *static_cast<std::string*>(answer);
  kept.append(bytes, std::min(size * count, 200 - std::min<size_t>(200, kept.size())));
  return size * count;
}

}  // namespace

absl::StatusOr<Pushgateway> Pushgateway::At(const std::string& address, const std::string& user,
                                            const std::string& run) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  const Url url(curl_url());
  const std::string full = absl::StrContains(address, "://") ? address : absl::StrCat("http://", address);
  const bool parsed = curl_url_set(url.get(), CURLUPART_URL, full.c_str(), 0) == CURLUE_OK;
  const std::string scheme = Part(url, CURLUPART_SCHEME);
  if (parsed && !(Part(url, CURLUPART_USER) + Part(url, CURLUPART_PASSWORD)).empty()) {
    return absl::InvalidArgumentError(
        "metrics.prometheus.pushgateway: a password must not stand in the address, which is copied to logs "
        "and "
        "checkpoints; put user:password into a file and name it with metrics.prometheus.push_auth_file");
  }
  if (!parsed || (scheme != "http" && scheme != "https") || !Part(url, CURLUPART_QUERY).empty() ||
      !Part(url, CURLUPART_FRAGMENT).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics.prometheus.pushgateway: '", address.substr(address.rfind('@') + 1),
                     "' is no address; set it to host:port or to http://host:port"));
  }
  std::string path = Part(url, CURLUPART_PATH);
  while (absl::EndsWith(path, "/")) path.pop_back();
  // base64: a run's name may hold slashes, which a path cannot.
  absl::StrAppend(&path, "/metrics/job/trainer/run@base64/",
                  run.empty() ? "=" : absl::WebSafeBase64Escape(run));
  curl_url_set(url.get(), CURLUPART_PATH, path.c_str(), 0);
  std::string target = Part(url, CURLUPART_URL);
  curl_url_set(url.get(), CURLUPART_PATH, nullptr, 0);
  return Pushgateway(std::move(target), user, Part(url, CURLUPART_URL));
}

absl::Status Pushgateway::Push(const std::string& text) const {
  const std::unique_ptr<CURL, FreeEasy> curl(curl_easy_init());
  const std::unique_ptr<curl_slist, FreeList> headers(
      curl_slist_append(nullptr, "Content-Type: text/plain; version=0.0.4; charset=utf-8"));
  std::string answer;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url_.c_str());
  if (!user_.empty()) curl_easy_setopt(curl.get(), CURLOPT_USERPWD, user_.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, "PUT");
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, text.data());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, KeepAnswer);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, kTimeoutMilliseconds);
  // Neither signals to end a wait by, nor a wait for the thread that still asks for the name.
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_QUICK_EXIT, 1L);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) {
    return absl::UnavailableError(absl::StrCat("cannot push to ", shown_, ": ", curl_easy_strerror(code)));
  }
  long http = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &http);
  if (http >= 200 && http < 300) return absl::OkStatus();
  answer.resize(std::min(answer.size(), answer.find('\n')));
  return absl::UnavailableError(
      absl::StrCat(shown_, " refuses the metrics: HTTP ", http, answer.empty() ? "" : ": ", answer));
}

}  // namespace trainer::telemetry
