// The first program: an echo server. Each connection is served by a function that reads as if it blocked.
//   c++ -std=c++20 -O2 -Iinclude examples/first.cpp -pthread && ./a.out      then: nc 127.0.0.1 7777
#include <eventer/eventer.hpp>
using namespace std::chrono_literals;

void serve(eventer::tcp_stream client) {
  std::array<char, 128> line;
  while (auto n = client.read_some(line, 10s))
    if (!client.write_all({line.data(), *n})) break;
}

int main() {
  return eventer::run([] {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:7777").value();
    while (auto client = acceptor.accept()) eventer::spawn(serve, std::move(*client));
    return 0;
  });
}
