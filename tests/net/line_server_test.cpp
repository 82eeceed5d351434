// The example line_server as its users see it: a program that is started, talked to and ended.
#include <unistd.h>

#include <cstdlib>

#include "../background.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::tcp_stream;

namespace {

// EVENTER_LINE_SERVER, else beside this program in the build folder; empty if there is none.
std::string server_path() {
  std::string path;
  if (const char* const given = std::getenv("EVENTER_LINE_SERVER"); given != nullptr) {
    path = given;
  } else {
    char self[4096];
    const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
    if (length > 0) path.assign(self, static_cast<std::size_t>(length));
    path = path.substr(0, path.rfind('/')) + "/../examples/line_server";
  }
  return ::access(path.c_str(), X_OK) == 0 ? path : std::string();
}

struct running_server {
  explicit running_server(std::vector<std::string> options = {}) : process(background::program(command(options))) {
    const std::string first = process.line();
    const std::string words = "listening on ";
    if (first.starts_with(words)) address = first.substr(words.size());
  }
  static std::vector<std::string> command(const std::vector<std::string>& options) {
    std::vector<std::string> words{server_path(), "--listen", "127.0.0.1:0"};
    words.insert(words.end(), options.begin(), options.end());
    return words;
  }
  tcp_stream connect() const { return tcp_stream::connect(address, 2s).value(); }

  background process;
  std::string address;
};

std::string say(tcp_stream& to, const std::string& text) {
  return to.write_all(text, 2s) ? read_text(to) : "could not write";
}

// Ends the server and gives what it printed.
std::string check_ends_well(running_server& server) {
  server.process.signal(SIGTERM);
  const auto end = server.process.wait();
  CHECK(end.status == 0);
  CHECK_FALSE(contains(end.output, "ERROR"));  // a sanitizer's
  return end.output;
}

}  // namespace

#define REQUIRE_SERVER() \
  if (server_path().empty()) EVENTER_SKIP("examples/line_server is not built")

TEST_CASE("line_server refuses what it can't do with a clear message and a status") {
  REQUIRE_SERVER();
  auto taken = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  struct refusal {
    std::vector<std::string> options;
    const char* message;
  };
  for (const auto& [options, message] : {
           refusal{{"--nonsense"}, "--nonsense"},
           refusal{{"--limit", "soon"}, "--limit"},
           refusal{{"--limit", "-1"}, "--limit"},
           refusal{{"--shared-stacks", "0"}, "--shared-stacks"},
           refusal{{"--listen"}, "--listen"},
           refusal{{"--listen", "nowhere"}, "cannot listen on nowhere: not an address"},
           refusal{{"--listen", "127.0.0.1:99999"}, "cannot listen on 127.0.0.1:99999: not an address"},
           refusal{{"--listen", taken.local().to_string()}, "Address already in use"},
       }) {
    std::vector<std::string> words{server_path()};
    words.insert(words.end(), options.begin(), options.end());
    auto process = background::program(words);
    const auto end = process.wait();
    CAPTURE(end.output);
    CHECK(end.status > 0);
    CHECK(contains(end.output, message));
  }
}

TEST_CASE("line_server says thanks, and quitter to quit in any case") {
  REQUIRE_SERVER();
  running_server server;
  for (const char* const quit : {"quit\n", "QUIT\r\n", "qUiT"}) {
    auto client = server.connect();
    CHECK(say(client, "hello\n") == "thanks!\n");
    CHECK(say(client, "\n") == "thanks!\n");
    CHECK(say(client, "qui") == "thanks!\n");
    CHECK(say(client, quit) == "quitter!\n");
    CHECK(read_text(client) == end_of_stream_text);
  }
  check_ends_well(server);
}

TEST_CASE("line_server says bye to who is silent for the limit, and to nobody else") {
  REQUIRE_SERVER();
  running_server server({"--limit", "0.3"});
  auto silent = server.connect(), talking = server.connect();
  for (int i = 0; i < 5; ++i) {
    ::poll(nullptr, 0, 100);
    CHECK(say(talking, "here") == "thanks!\n");
  }
  CHECK(read_text(silent) == "bye!\n");
  CHECK(read_text(silent) == end_of_stream_text);
  check_ends_well(server);
}

TEST_CASE("line_server survives every kind of client") {
  REQUIRE_SERVER();
  running_server server({"--limit", "5"});
  SECTION("one that connects and goes") { server.connect(); }
  SECTION("one that half-closes after its line, as printf | nc does") {
    auto client = server.connect();
    CHECK(client.write_all("hello\n").has_value());
    CHECK(client.shutdown_write().has_value());
    CHECK(read_text(client) == "thanks!\n");
    CHECK(read_text(client) == end_of_stream_text);
  }
  SECTION("one that resets") {
    for (int i = 0; i < 20; ++i) {
      auto client = server.connect();
      CHECK(client.write_all("hello\n").has_value());
      const linger reset{1, 0};
      ::setsockopt(client.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
  }
  SECTION("one that sends 1 MB without a line feed and reads what it is told") {
    auto client = server.connect();
    eventer::run([&client] {
      const auto shared = std::make_shared<tcp_stream>(std::move(client));
      auto writer = eventer::spawn([shared] {
        const bool good = shared->write_all(std::string(1 << 20, 'x'), 10s).has_value();
        (void)shared->shutdown_write();
        return good;
      });
      std::string all;
      for (std::string part; (part = read_text(*shared)) != end_of_stream_text && part.front() != '<';) all += part;
      CHECK(writer.join());
      CHECK(all.size() % 8 == 0);
      CHECK(all.size() >= 8 * (1 << 20) / 128);
      CHECK(all.starts_with("thanks!\n"));
    });
  }
  SECTION("300 at once") {
    std::vector<tcp_stream> crowd;
    for (int i = 0; i < 300; ++i) crowd.push_back(server.connect());
    for (auto& each : crowd) CHECK(each.write_all("hello").has_value());
    for (auto& each : crowd) CHECK(read_text(each) == "thanks!\n");
  }
  auto next = server.connect();
  CHECK(say(next, "still there?\n") == "thanks!\n");
  check_ends_well(server);
}

TEST_CASE("line_server closes who comes beyond --max-connections") {
  REQUIRE_SERVER();
  running_server server({"--max-connections", "2"});
  auto a = server.connect(), b = server.connect();
  CHECK(say(a, "1") == "thanks!\n");
  CHECK(say(b, "2") == "thanks!\n");
  auto c = server.connect();
  CHECK(read_text(c) == end_of_stream_text);
  a.close();
  CHECK(say(b, "3") == "thanks!\n");
  auto d = server.connect();
  CHECK(say(d, "4") == "thanks!\n");
  check_ends_well(server);
}

TEST_CASE("line_server ends on SIGTERM and SIGINT with status 0, and reports what its connections cost") {
  REQUIRE_SERVER();
  for (const int number : {SIGTERM, SIGINT}) {
    running_server server({"--report"});
    std::vector<tcp_stream> parked;
    for (int i = 0; i < 50; ++i) {
      parked.push_back(server.connect());
      CHECK(say(parked.back(), "hello") == "thanks!\n");
    }
    server.process.signal(number);
    const auto end = server.process.wait();
    CAPTURE(end.output);
    CHECK(end.status == 0);
    CHECK(contains(end.output, "serve"));
    CHECK(contains(end.output, "accept"));
    CHECK(contains(end.output, "shared stacks"));
    CHECK(contains(end.output, "MB with 50: "));
    CHECK(read_text(parked.front()) == end_of_stream_text);
  }
}
