// Fetches many URLs, some at a time, with a progress bar.
//
//   fetch [URL...] [--file urls.txt] [--jobs 10] [--output FOLDER] [--time-limit SECONDS] [--ca-file ca.pem]
//
//   seq 100 | sed 's|^|http://127.0.0.1:8080/|' | fetch --jobs 10
//
// Without URLs and a file it reads them from the standard input, one a line. With --output each body becomes a file,
// named by its place in the list: 1, 2, ... What failed is told with its reason; the exit status is 0 if every answer
// had a status of 200 to 299 and came whole, else 1.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <eventer/https_client.hpp>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

namespace http = eventer::http;

struct wanted {
  std::vector<std::string> urls;
  std::string output, ca_file;
  std::size_t jobs = 10;
  double seconds = 60;
};

// On the heap: all coroutines that fetch share it.
struct work {
  explicit work(const wanted& w) : what(w), client(make_client(w)) {}

  static http::client make_client(const wanted& w) {
    http::client_options options{
        .total_time = std::chrono::duration_cast<eventer::duration>(std::chrono::duration<double>(w.seconds)),
        .max_connections = w.jobs};
    if (w.ca_file.empty()) return http::client(std::move(options));
    return {std::move(options), eventer::tls::context::client({.ca_file = w.ca_file})};
  }

  const wanted& what;
  const http::client client;
  std::size_t next = 0, done = 0, failed = 0;
  std::uint64_t bytes = 0;
  bool bar = ::isatty(STDERR_FILENO) == 1;

  void tell(const std::string& line) {
    if (bar) std::fprintf(stderr, "\r\033[K");
    std::fprintf(stderr, "%s\n", line.c_str());
    draw();
  }
  void draw() const {
    if (!bar) return;
    constexpr std::size_t width = 40;
    const std::size_t full = what.urls.empty() ? width : done * width / what.urls.size();
    std::fprintf(stderr, "\r[%s%s] %zu/%zu, %.1f MB, %zu failed ", std::string(full, '#').c_str(),
                 std::string(width - full, '.').c_str(), done, what.urls.size(), static_cast<double>(bytes) / 1e6,
                 failed);
    std::fflush(stderr);
  }
};

// The body goes to a file, or nowhere. Files block for so short a time that it does not matter here.
std::error_code save(work& all, http::client_response& answer, std::size_t number) {
  const bool saves = !all.what.output.empty();
  const std::string path = all.what.output + "/" + std::to_string(number + 1);
  const eventer::unique_fd file(saves ? ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1);
  if (saves && file.get() < 0) return eventer::error_from_errno(errno);
  for (;;) {
    const auto piece = answer.read_piece();
    if (!piece) return answer.ended() ? std::error_code() : piece.error();
    all.bytes += piece->size();
    for (std::string_view left = *piece; saves && !left.empty();) {
      const ssize_t written = ::write(file.get(), left.data(), left.size());
      if (written < 0) return eventer::error_from_errno(errno);
      left.remove_prefix(static_cast<std::size_t>(written));
    }
  }
}

// Takes one URL after another until none is left.
void fetch_some(work& all) {
  while (all.next < all.what.urls.size()) {
    const std::size_t number = all.next++;
    const std::string& url = all.what.urls[number];
    auto answer = all.client.get(url);
    std::string problem;
    if (!answer)
      problem = answer.error().message();
    else if (const std::error_code error = save(all, *answer, number))
      problem = error.message();
    else if (!answer->ok())
      problem = "status " + std::to_string(answer->status());
    ++all.done;
    if (!problem.empty()) {
      ++all.failed;
      all.tell(url + ": " + problem);
    }
    all.draw();
  }
}

int fetch(const wanted& what) {
  const auto all = std::make_shared<work>(what);
  const auto begin = eventer::clock::now();
  {
    eventer::task_group group;
    for (std::size_t i = 0; i < std::min(what.jobs, what.urls.size()); ++i) group.spawn([all] { fetch_some(*all); });
    group.join();
  }
  const std::chrono::duration<double> took = eventer::clock::now() - begin;
  if (all->bar) std::fprintf(stderr, "\n");
  std::printf("%zu of %zu fetched, %llu bytes in %.2f s, %zu connections\n", all->done - all->failed, what.urls.size(),
              static_cast<unsigned long long>(all->bytes), took.count(),
              static_cast<std::size_t>(all->client.statistics().opened));
  return all->failed == 0 ? 0 : 1;
}

void read_lines(std::istream& from, std::vector<std::string>& into) {
  for (std::string line; std::getline(from, line);)
    if (!line.empty() && line.front() != '#') into.push_back(line);
}

}  // namespace

int main(int argc, char** argv) {
  wanted what;
  std::string file;
  CLI::App app{"Fetches many URLs, some at a time."};
  app.add_option("urls", what.urls, "http and https URLs");
  app.add_option("-f,--file", file, "with URLs, one a line; - is the standard input");
  app.add_option("-j,--jobs", what.jobs, "at a time")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("-o,--output", what.output, "the folder for what comes");
  app.add_option("-t,--time-limit", what.seconds, "seconds for each")->capture_default_str();
  app.add_option("--ca-file", what.ca_file, "PEM, with whom to trust; else whom the system trusts");
  CLI11_PARSE(app, argc, argv);
  if (file == "-" || (file.empty() && what.urls.empty())) {
    read_lines(std::cin, what.urls);
  } else if (!file.empty()) {
    std::ifstream lines(file);
    if (!lines) return std::fprintf(stderr, "fetch: %s can't be read\n", file.c_str()), 2;
    read_lines(lines, what.urls);
  }
  try {
    return eventer::run([&] { return fetch(what); });
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "fetch: %s\n", failure.what()), 2;
  }
}
