// A REST service in a few lines: "Hello world." comes out of a function that blocks, in a job queue, and everybody else
// is served meanwhile.
//
//   hello_rest [127.0.0.1:8080]
//   curl http://127.0.0.1:8080/hello
#include <cstdio>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <thread>

namespace http = eventer::http;

static const char* hello() {
  std::this_thread::sleep_for(std::chrono::seconds(1));  // a library that knows no coroutines
  return "Hello world.\n";
}

static void hello_handler(http::request&, http::response& answer) { answer.text(eventer::run_blocking(hello)); }

int main(int count, char** arguments) {
  return eventer::run([address = std::string(count > 1 ? arguments[1] : "127.0.0.1:8080")] {
    http::router routes;
    routes.add("GET", "/", "^hello$", hello_handler);
    const auto served = http::server(std::move(routes)).serve(address);
    if (!served) std::fprintf(stderr, "%s: %s\n", address.c_str(), served.error().message().c_str());
    return served ? 0 : 1;
  });
}
