// GLib's main loop, as GTK programs have it.
#pragma once

#include <glib-unix.h>
#include <glib.h>

#include "hosts.hpp"

class glib_host final : public host {
 public:
  glib_host(eventer::event_loop& loop, mode how) : host(loop, how) {
    static GSourceFuncs functions = {&prepare, &check, &dispatch, nullptr, nullptr, nullptr};
    source_ = reinterpret_cast<source*>(g_source_new(&functions, sizeof(source)));
    source_->owner = this;
    source_->tag = g_source_add_unix_fd(&source_->base, loop.native_handle(), G_IO_IN);
    g_source_attach(&source_->base, context_);
  }
  ~glib_host() override {
    g_source_destroy(&source_->base);
    g_source_unref(&source_->base);
    g_main_loop_unref(main_loop_);
    g_main_context_unref(context_);
  }
  void call_repeatedly(std::function<bool()> function) override {
    own_work_ = std::move(function);
    add(g_timeout_source_new(0), [](void* self) -> gboolean {
      auto& here = *static_cast<glib_host*>(self);
      const bool goes_on = here.own_work_();
      here.check_done();
      return goes_on;
    });
  }

 private:
  struct source {
    GSource base;
    glib_host* owner;
    gpointer tag;
  };

  static gboolean prepare(GSource* base, gint* timeout) {
    *timeout = reinterpret_cast<source*>(base)->owner->milliseconds_to_deadline();
    return *timeout == 0;
  }
  static gboolean check(GSource* base) {
    const auto* const self = reinterpret_cast<source*>(base);
    return g_source_query_unix_fd(base, self->tag) != 0 || self->owner->is_due();
  }
  static gboolean dispatch(GSource* base, GSourceFunc, gpointer) {
    reinterpret_cast<source*>(base)->owner->poll();
    return G_SOURCE_CONTINUE;
  }

  GSource* add(GSource* which, GSourceFunc function) {
    g_source_set_callback(which, function, this, nullptr);
    g_source_attach(which, context_);
    g_source_unref(which);
    return which;
  }
  void run(std::chrono::seconds give_up_after) override {
    GSource* const net =
        add(g_timeout_source_new_seconds(static_cast<guint>(give_up_after.count())), [](void* self) -> gboolean {
          static_cast<glib_host*>(self)->give_up();
          return G_SOURCE_CONTINUE;
        });
    g_main_loop_run(main_loop_);
    g_source_destroy(net);
  }
  void quit() override { g_main_loop_quit(main_loop_); }

  GMainContext* context_ = g_main_context_new();
  GMainLoop* main_loop_ = g_main_loop_new(context_, FALSE);
  source* source_;
  std::function<bool()> own_work_;
};
