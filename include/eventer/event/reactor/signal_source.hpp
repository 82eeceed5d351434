// signal_source: signals as something to read instead of handlers that interrupt.
//
// It rests on signalfd or on a kqueue of its own; reactor::open_signals() makes one. The caller blocks the signals in
// all threads beforehand: one that is not blocked still runs its handler, or ends the process.
#pragma once

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

class signal_source {
 public:
  virtual ~signal_source() = default;

  // Readable while a signal is pending: for add() or arm_once(). It is the source's own; only take() reads it.
  virtual int fd() const noexcept = 0;
  // The number of one pending signal, which is pending no more; 0 if there is none. A signal that was sent several
  // times before it is taken may come once. Two sources for one signal: only one of them gets it with signalfd, each
  // of them with kqueue.
  virtual int take() noexcept = 0;
};

}  // namespace eventer::inline EVENTER_ABI
