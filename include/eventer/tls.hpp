// TLS over OpenSSL 3: contexts, streams, and [listener.tls]. See docs/tls.md.
//
// Outside eventer.hpp because it needs OpenSSL (Debian: libssl-dev; link with -lssl -lcrypto) and exceptions.
#pragma once

#include "eventer/tls/context.hpp"
#include "eventer/tls/listener.hpp"
#include "eventer/tls/stream.hpp"
