// A crowd of clients for line_server, itself written with eventer: many connections, each a coroutine that talks and
// then stays.
//
//   crowd --connect 127.0.0.1:7777 --connections 10000
//
// Prints a progress bar and the transcript of the first conversation, then holds every connection until the server ends
// them. --ready FILE is made when all have talked, for scripts that wait for it.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <memory>

namespace {

using namespace std::chrono_literals;
using eventer::tcp_stream;

struct progress {
  std::size_t wanted = 0, connected = 0, answered = 0, failed = 0;
  std::size_t shown = 0;
  std::string first_error;
  std::string first_conversation;
  bool on_terminal = ::isatty(1) != 0;

  void show() {
    const std::size_t done = answered + failed;
    const std::size_t percent = wanted == 0 ? 100 : done * 100 / wanted;
    if (percent == shown || (!on_terminal && done != wanted)) return;  // a file gets the last state alone
    shown = percent;
    std::string bar(percent / 2, '#');
    bar.resize(50, '.');
    std::printf("\r[%s] %3zu%%  %zu connected, %zu answered", bar.c_str(), percent, connected, answered);
    if (done == wanted) std::printf("\n");
    std::fflush(stdout);
  }
};

void talk(eventer::endpoint server, std::shared_ptr<progress> all, std::size_t number) {
  auto connection = tcp_stream::connect(server, 30s);
  if (!connection) {
    if (all->failed++ == 0) all->first_error = connection.error().message();
    return all->show();
  }
  ++all->connected;
  const std::string line = "hello from number " + std::to_string(number) + "\n";
  std::array<char, 8> answer;
  bool good = connection->write_all(line, 30s).has_value();
  good = good && connection->read_exact(answer, 30s).has_value();
  good = good && std::string_view(answer.data(), answer.size()) == "thanks!\n";
  if (good)
    ++all->answered;
  else
    ++all->failed;
  if (number == 1) all->first_conversation = "    > " + line + "    < " + std::string(answer.data(), answer.size());
  all->show();
  (void)connection->read_some(answer);  // until the server ends it
}

std::size_t possible_connections(std::size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  rlimit raised{std::max<rlim_t>(limit.rlim_max, wanted + 64), std::max<rlim_t>(limit.rlim_max, wanted + 64)};
  if (limit.rlim_cur >= wanted + 64) return wanted;
  if (::setrlimit(RLIMIT_NOFILE, &raised) != 0) {
    raised = {limit.rlim_max, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &raised);
  }
  return std::min<std::size_t>(wanted, raised.rlim_cur - 64);
}

}  // namespace

int main(int argc, char** argv) {
  std::string address;
  std::string ready_file;
  std::size_t wanted = 10'000;
  CLI::App app{"Opens many connections to line_server, talks on each and holds them."};
  app.add_option("-c,--connect", address, "address and port of the server")->required();
  app.add_option("-n,--connections", wanted, "how many")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--ready", ready_file, "make this file when all have talked");
  CLI11_PARSE(app, argc, argv);

  const auto server = eventer::endpoint::parse(address);
  if (!server) {
    std::fprintf(stderr, "crowd: %s: %s\n", address.c_str(), server.error().message().c_str());
    return 1;
  }
  const std::size_t count = possible_connections(wanted);
  if (count < wanted)
    std::printf("only %zu connections: the limit of descriptors (ulimit -n) does not allow more\n", count);

  return eventer::run([server = *server, count, ready_file] {
    auto all = std::make_shared<progress>();
    all->wanted = count;
    std::vector<eventer::join_handle<void>> crowd;
    crowd.reserve(count);
    for (std::size_t number = 1; number <= count; ++number) {
      crowd.push_back(eventer::spawn({.name = "talk"}, talk, server, all, number));
      // A few hundred at a time: a backlog holds some thousand.
      while (number - (all->connected + all->failed) >= 256) eventer::sleep_for(1ms);
    }
    while (all->answered + all->failed < count) eventer::sleep_for(5ms);
    if (all->failed > 0) std::printf("%zu failed, the first with: %s\n", all->failed, all->first_error.c_str());
    std::printf(
        "The first conversation:\n%sAll %zu connections stay open, each in a parked coroutine on either side.\n",
        all->first_conversation.c_str(), all->answered);
    std::fflush(stdout);
    if (!ready_file.empty())
      if (std::FILE* const file = std::fopen(ready_file.c_str(), "w"); file != nullptr) std::fclose(file);
    for (auto& each : crowd) each.join();
    return all->failed == 0 ? 0 : 1;
  });
}
