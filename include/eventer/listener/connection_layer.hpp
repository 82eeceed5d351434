// connection_layer: what is put over the connections of a listener before its function gets them: TLS. The listener
// knows no more of it than this, so that it depends on no library for it; eventer/tls.hpp brings one that rests on
// OpenSSL.
#pragma once

#include <memory>

#include "eventer/listener/listener_config.hpp"
#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI {

// On several loops at the same time.
class connection_layer {
 public:
  virtual ~connection_layer() = default;
  // Puts itself over a connection that was accepted, in the connection's own coroutine, which may wait. After an error
  // the connection is closed, and the error is logged.
  virtual io_result<void> accept(any_stream& peer) const = 0;
};

class connection_layer_factory {
 public:
  virtual ~connection_layer_factory() = default;
  // For a listener whose configuration asks for it, at the start and again at each reload, which reads its files anew.
  // Throws a std::exception whose what() says what is wrong; then nothing listens, or nothing changes.
  virtual std::shared_ptr<const connection_layer> make(const listener_config& config) const = 0;
};

}  // namespace eventer::inline EVENTER_ABI
