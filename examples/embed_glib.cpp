// Coroutines beside widgets: a GLib program, as every GTK one is, whose main loop also runs ours. One thread, no locks.
//
//   c++ -std=c++20 -O2 -Iinclude examples/embed_glib.cpp $(pkg-config --cflags --libs glib-2.0) -pthread && ./a.out
#include <glib-unix.h>

#include <cstdio>
#include <eventer/eventer.hpp>

using namespace std::chrono_literals;

// All that it takes: GLib waits for the loop's handle, which also tells of its timers, and lets it do what is ready.
// What a callback of the loop throws must not go through GLib's frames: noexcept.
guint run_inside_glib(eventer::event_loop& loop) {
  const auto poll = [](gint, GIOCondition, gpointer data) noexcept -> gboolean {
    static_cast<eventer::event_loop*>(data)->poll();
    return G_SOURCE_CONTINUE;
  };
  return g_unix_fd_add(loop.native_handle(), G_IO_IN, poll, &loop);
}

void serve(eventer::tcp_stream client) {
  std::array<char, 128> line;
  while (const auto got = client.read_some(line, 10s))
    if (!client.write_all({line.data(), *got})) break;
}

std::string ask(const eventer::endpoint& server, std::string text) {
  auto stream = eventer::tcp_stream::connect(server, 10s).value();
  std::array<char, 128> answer;
  stream.write_all(text).value();
  return {answer.data(), stream.read_some(answer, 10s).value()};
}

// What the two sides share is on the heap: a coroutine's own stack is swapped out while it waits.
struct window {
  GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
  int frames_drawn = 0;
  ~window() { g_main_loop_unref(main_loop); }
};

int main() {
  eventer::event_loop loop;
  const guint source = run_inside_glib(loop);
  window shown;
  const auto draw = [](gpointer data) -> gboolean {
    ++static_cast<window*>(data)->frames_drawn;
    return G_SOURCE_CONTINUE;
  };
  const guint drawing = g_timeout_add(1, draw, &shown);

  (void)loop.spawn([&shown] {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const auto server = acceptor.local();
    auto accepting = eventer::spawn([acceptor = std::move(acceptor)]() mutable {
      while (auto client = acceptor.accept()) eventer::spawn(serve, std::move(*client));
    });
    std::printf("%s\n", ask(server, "a coroutine asks, another one answers").c_str());
    const int before = shown.frames_drawn;
    while (shown.frames_drawn < before + 3) eventer::sleep_for(1ms);
    std::printf("GLib's own timer goes on meanwhile\n");
    accepting.cancel();
    g_main_loop_quit(shown.main_loop);
  });
  g_main_loop_run(shown.main_loop);
  g_source_remove(drawing);
  g_source_remove(source);
}
// It prints: a coroutine asks, another one answers
//            GLib's own timer goes on meanwhile
