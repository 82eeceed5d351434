// Any bytes as what a client sends on one connection, to a server whose handlers stream, throw, wait and read bodies.
// Whole and in pieces of all kinds the same is answered, and it is HTTP; the connection ends when its client does.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "../http/answer_text.hpp"
#include "eventer/eventer.hpp"
#include "eventer/http.hpp"

using namespace std::chrono_literals;
namespace http = eventer::http;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

http::server make_server() {
  http::router routes;
  routes.get("/", [](http::request& asked, http::response& answer) {
    std::string text(asked.host());
    for (std::size_t i = 0; i < asked.header_count(); ++i) text.append(asked.header(i).value);
    text.append(asked.query("a").value_or("-")).append(asked.cookie("c").value_or("-"));
    answer.text(std::move(text));
  });
  routes.get("/s/{n}", [](http::request& asked, http::response& answer) {
    for (int i = 0; i < 3; ++i)
      if (!answer.write(*asked.parameter("n"))) return;
  });
  routes.get("/l", [](http::request&, http::response& answer) {
    (void)answer.content_length(4).write("ab");
    eventer::sleep_for(1s);
    (void)answer.write("cd");
  });
  routes.get("/t", [](http::request&, http::response&) { throw std::runtime_error("t"); });
  routes.get("/x", [](http::request&, http::response& answer) {
    (void)answer.write("begun");
    throw std::runtime_error("x");
  });
  routes.get("/y", [](http::request&, http::response& answer) { (void)answer.content_length(1).write("too much"); });
  routes.get("/e", [](http::request&, http::response&) { throw http::error(410, "gone\n"); });
  routes.get("/w", [](http::request&, http::response& answer) {
    eventer::sleep_for(1s);
    answer.status(204);
  });
  routes.get("/d", [](http::request&, http::response& answer, http::done done) {
    eventer::event_loop::current().after(1s, [&answer, done] {
      answer.text("d");
      done();
    });
  });
  const auto echo = [](http::request& asked, http::response& answer) {
    if (const auto body = asked.body()) answer.text(*body);
  };
  routes.post("/b", echo);
  routes.put("/b", echo);
  routes.post("/p", [](http::request& asked, http::response& answer) {
    std::array<char, 7> part;
    std::string all;
    for (;;) {
      const auto got = asked.read_some(part);
      if (!got) {
        if (got.error() == eventer::errc::end_of_stream) answer.text(std::move(all));
        return;
      }
      all.append(part.data(), *got);
    }
  });
  routes.post("/i", [](http::request&, http::response& answer) { answer.text("i"); });
  routes.post("/f", [](http::request& asked, http::response& answer) { answer.text(asked.form("a").value_or("-")); });
  routes.get("/u", [](http::request&, http::response& answer) {
    auto mine = answer.upgrade("echo");
    if (!mine) return answer.text("plain");
    (void)mine->stream.write_all(mine->received);
    std::array<char, 64> part;
    while (const auto got = mine->stream.read_some(part))
      if (!mine->stream.write_all({part.data(), *got})) return;
  });
  http::server_options options;
  options.limits = {.request_line = 200,
                    .header_bytes = 600,
                    .header_count = 10,
                    .body = 1000,
                    .chunk_extension = 20,
                    .trailer_bytes = 60};
  options.limits.requests_per_connection = 20;
  return http::server(std::move(routes), std::move(options));
}

struct run_of {
  std::string answers;
  bool over = false;
};

// All that is answered, without what differs from second to second.
std::shared_ptr<run_of> answers_to(const http::server& server, const std::string& bytes,
                                   const eventer::memory_stream_options& options) {
  const auto result = std::make_shared<run_of>();
  eventer::manual_clock time;
  eventer::run(
      [&server, result, bytes = std::make_shared<std::string>(bytes), options] {
        auto pair = eventer::memory_stream_pair(options);
        auto serves = eventer::spawn(
            [server, stream = eventer::any_stream(std::move(pair.far))]() mutable { server(std::move(stream)); });
        const auto mine = std::make_shared<eventer::tcp_stream>(std::move(pair.near));
        auto sends = eventer::spawn([mine, bytes] {
          (void)mine->write_all(*bytes);
          (void)mine->shutdown_write();
        });
        std::string part(4096, '\0');
        while (const auto got = mine->read_some(part, 100s)) result->answers.append(part, 0, *got);
        sends.join();
        for (int i = 0; i < 300 && !serves.done(); ++i) eventer::sleep_for(1s);
        result->over = serves.done();
        serves.cancel();
      },
      {.clock = &time});
  std::string& all = result->answers;
  for (std::size_t at = 0; (at = all.find("\r\nDate: ", at)) != std::string::npos;) all.erase(at, 37);
  return result;
}

// Each answer is one, in its order; behind 101 nothing is HTTP any more, and only the last may be cut off by its
// handler. HEAD is left out: who doesn't know the requests can't tell its answers' ends.
void must_be_http(std::string_view all, bool has_head, bool may_be_cut) {
  while (!all.empty()) {
    http_test::answer each;
    std::size_t used = 0;
    const auto how = http_test::answer_parser::parse(all, false, true, each, used);
    if ((has_head || (may_be_cut && all.starts_with("HTTP/1.1 200 OK"))) && how != http_test::parsed::whole) return;
    must(how == http_test::parsed::whole, "what is answered is no HTTP");
    if (each.status == 101) return;
    all.remove_prefix(used);
    must(!each.says_close() || all.empty(), "there is an answer behind the last one");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool quiet = [] {
    eventer::set_log_sink([](eventer::log_level, const char*) {});
    return true;
  }();
  static const http::server server = make_server();
  if (!quiet || size < 2) return 0;
  const std::uint64_t seed = 1 + data[0] + 256u * data[1];
  const std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto whole = answers_to(server, bytes, {.capacity = 1 << 20});
  must(whole->over, "the connection does not end");
  const bool has_head = bytes.find("HEAD") != std::string::npos;
  const bool may_be_cut = bytes.find("/x") != std::string::npos || bytes.find("/y") != std::string::npos ||
                          bytes.find('%') != std::string::npos || bytes.find("/.") != std::string::npos;
  must_be_http(whole->answers, has_head, may_be_cut);
  const auto pieces = answers_to(
      server, bytes,
      {.seed = seed, .short_reads = 60, .short_writes = 40, .would_blocks = 40, .capacity = 64 + seed % 1000});
  must(pieces->over, "the connection in pieces does not end");
  // Whether the client is told to go on depends on whether its body is there already.
  const auto without_100 = [](std::string text) {
    const std::string interim = "HTTP/1.1 100 Continue\r\n\r\n";
    for (std::size_t at = 0; (at = text.find(interim, at)) != std::string::npos;) text.erase(at, interim.size());
    return text;
  };
  if (bytes.find("100-") == std::string::npos)
    must(pieces->answers == whole->answers, "in pieces something else is answered");
  else if (without_100(pieces->answers) != without_100(whole->answers))
    must_be_http(pieces->answers, has_head,
                 may_be_cut);  // an unread body ends the connection, or not, by whether it has come
  // A connection that breaks leaves nothing behind.
  const auto broken = answers_to(server, bytes, {.seed = seed, .short_reads = 30, .reset_after = seed % 900});
  must(broken->over, "the broken connection does not end");
  return 0;
}
