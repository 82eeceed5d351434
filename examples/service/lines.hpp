// The protocol of the "lines" listeners: one line, one answer.
//
//   put NAME VALUE   stored
//   get NAME         the value, or: no such name
//   stats            what goes on here, some lines, the last one is: end
//   quit             quitter!, and the connection ends; also in capitals
//   anything else    thanks!
//
// Silence for the limit is answered with bye!. There is nothing in here about reloads and the service's end: between
// two lines a connection that drains is told that its peer has gone, and each line that was read is answered first.
#pragma once

#include <strings.h>

#include <algorithm>
#include <eventer/listeners.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "metrics.hpp"
#include "stores.hpp"

class serve_lines {
 public:
  serve_lines(std::shared_ptr<stores> all, metrics numbers) : stores_(std::move(all)), metrics_(std::move(numbers)) {}

  // Called on all loops, as a coroutine for each connection.
  void operator()(eventer::any_stream peer, const eventer::listener_config& config) const {
    const line_settings settings(config);
    const store entries = stores_->find(settings.database);
    std::string text;
    for (;;) {
      const auto line = peer.read_until(text, "\n", longest_line, settings.limit);
      if (!line) return say_farewell(peer, line.error());
      const std::string_view request = without_end(*line);
      const bool quits = is(request, "quit");
      const std::string answer = quits ? "quitter!" : answer_to(request, entries, settings);
      text.erase(0, line->size());
      if (!peer.write_all(answer + "\n", settings.limit) || quits) return;
    }
  }
  // For those beyond max_connections.
  static void refuse(eventer::any_stream peer) { (void)peer.write_all("busy, come back later\n"); }

 private:
  static constexpr std::size_t longest_line = 4096;

  static void say_farewell(eventer::any_stream& peer, std::error_code why) {
    using namespace std::chrono_literals;
    if (why == std::errc::timed_out) (void)peer.write_all("bye!\n", 1s);
    if (why != eventer::errc::would_not_fit) return;
    (void)peer.write_all("error: a line has at most " + std::to_string(longest_line) + " bytes\n", 1s);
    // Closing with something unread would reset the connection, and the peer might lose the answer.
    (void)peer.shutdown_write();
    const eventer::time_point end = eventer::clock::now() + 1s;
    while (peer.read_borrowed(end)) {
    }
  }

  std::string answer_to(std::string_view request, const store& entries, const line_settings& settings) const {
    const std::string_view command = next_word(request);
    if (is(command, "stats") && request.empty()) return metrics_.as_text() + "end";
    if (is(command, "put")) {
      const std::string_view name = next_word(request);
      if (name.empty() || request.empty()) return "error: expected: put NAME VALUE";
      const auto done = entries.put(std::string(name), std::string(request), settings.patience);
      return done ? "stored" : error_text(done.error());
    }
    if (is(command, "get")) {
      const std::string_view name = next_word(request);
      if (name.empty() || !request.empty()) return "error: expected: get NAME";
      const auto found = entries.get(std::string(name), settings.patience);
      if (!found) return error_text(found.error());
      return found->value_or("no such name");
    }
    return "thanks!";
  }

  static std::string error_text(std::error_code what) { return "error: " + what.message(); }
  static bool is(std::string_view word, std::string_view expected) {
    return word.size() == expected.size() && ::strncasecmp(word.data(), expected.data(), word.size()) == 0;
  }
  static std::string_view without_end(std::string_view line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
    return line;
  }
  // Takes it off the text.
  static std::string_view next_word(std::string_view& text) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    return word;
  }

  std::shared_ptr<stores> stores_;
  metrics metrics_;
};
