// A client for tests: it sends text as it is, and reads one answer at a time. With servers in memory and on loopback.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "../catch.hpp"
#include "answer_text.hpp"
#include "eventer/eventer.hpp"
#include "eventer/http.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
namespace http = eventer::http;

namespace http_test {

// Used by one coroutine, in whose frame it may lie.
class client {
 public:
  explicit client(eventer::tcp_stream stream) : stream_(std::move(stream)) {}

  bool send(std::string_view text) { return static_cast<bool>(stream_.write_all(text, patience)); }
  // The next answer; its status is 0 where there is none, and `why` says so.
  answer read(bool to_head = false) {
    for (;;) {
      answer result;
      std::size_t used = 0;
      const parsed how = answer_parser::parse(unread_, to_head, ended_, result, used);
      if (how == parsed::whole) {
        unread_.erase(0, used);
        return result;
      }
      if (how == parsed::malformed && !unread_.empty()) why = "malformed: " + unread_;
      if (how == parsed::malformed || (!more() && !ended_)) return {};
    }
  }
  answer ask(std::string_view request, bool to_head = false) { return send(request) ? read(to_head) : answer(); }
  // Whether the server has closed, with nothing said that was not read. A reset is no such end.
  bool ends() {
    while (!ended_ && unread_.empty() && more()) {
    }
    return ended_ && unread_.empty();
  }
  // All that comes until the end.
  std::string rest() {
    while (more()) {
    }
    return std::exchange(unread_, {});
  }
  // What has come and was not read, with what comes now.
  std::string& unread() noexcept { return unread_; }
  bool more() {
    std::string part(16 << 10, '\0');
    const auto got = stream_.read_some(part, patience);
    if (!got) {
      ended_ = got.error() == eventer::errc::end_of_stream;
      why = got.error().message();
      return false;
    }
    unread_.append(part, 0, *got);
    return true;
  }
  eventer::tcp_stream& stream() noexcept { return stream_; }
  void finish_sending() { (void)stream_.shutdown_write(); }
  void close() { stream_.close(); }

  std::string why;  // there was no answer
  eventer::duration patience = 100s;

 private:
  eventer::tcp_stream stream_;
  std::string unread_;
  bool ended_ = false;
};

// A client whose server is in memory, and runs in a coroutine of this loop.
struct served : client {
  served(const http::server& by, const eventer::memory_stream_options& options = {})
      : served(by, eventer::memory_stream_pair(options)) {}
  // Whether the server has nothing to do with the connection any more.
  bool is_over() const { return *over_; }
  eventer::memory_link link;

 private:
  served(const http::server& by, eventer::memory_streams<eventer::tcp_stream> pair)
      : client(std::move(pair.near)), link(pair.link), over_(std::make_shared<bool>(false)) {
    (void)eventer::spawn([by, over = over_, stream = eventer::any_stream(std::move(pair.far))]() mutable {
      struct at_end {
        std::shared_ptr<bool> over;
        ~at_end() { *over = true; }
      } const end{over};
      by(std::move(stream));
    });
  }
  std::shared_ptr<bool> over_;
};

inline http::router one_route(std::string_view method, std::string_view path, auto handler) {
  http::router routes;
  routes.add(method, path, std::move(handler));
  return routes;
}
inline std::string get(std::string_view target, std::string_view fields = {}) {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}
inline std::string post(std::string_view target, std::string_view body, std::string_view fields = {}) {
  return "POST " + std::string(target) + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n" + std::string(fields) + "\r\n" + std::string(body);
}
inline std::string post_chunks(std::string_view target, std::string_view chunks, std::string_view fields = {}) {
  return "POST " + std::string(target) + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" +
         std::string(fields) + "\r\n" + std::string(chunks);
}

// Sends all of it, says that nothing more comes, and returns all that is answered. The server may begin to answer, and
// stop reading, before everything is sent.
inline std::string all_answers(const http::server& by, std::string bytes,
                               const eventer::memory_stream_options& options = {}) {
  served peer(by, options);
  auto* const stream = &peer.stream();
  struct sender {
    std::shared_ptr<eventer::tcp_stream> to;
    std::string bytes;
    void operator()() const {
      (void)to->write_all(bytes, 100s);
      (void)to->shutdown_write();
    }
  };
  const auto shared = std::make_shared<eventer::tcp_stream>(std::move(*stream));
  auto sends = eventer::spawn(sender{shared, std::move(bytes)});
  std::string all, part(16 << 10, '\0');
  while (const auto got = shared->read_some(part, 100s)) all.append(part, 0, *got);
  sends.join();
  return all;
}

}  // namespace http_test
