/* eventer_aco.h: events, coroutines, job queues, listeners, REST and what a program needs around them, for C and C++, under the
 * names of libmtev's eventer. A program moves over by an include path (see compat/libmtev/); docs/from-libmtev.md says, name by
 * name, what is the same, what is better and what is not there.
 *
 * C99 and C++20. One C++ file of the program implements it:
 *
 *   #define EVENTER_ACO_IMPLEMENTATION
 *   #include "eventer/compat/eventer_aco.h"
 *
 * That gives events, coroutines and job queues (sections 0-3 and 7), and needs pthreads alone. Defined before the include,
 * EVENTER_ACO_WITH_LISTENERS adds section 4 (toml++), EVENTER_ACO_WITH_HTTP sections 5 and 6 (Boost's headers, RE2), beside it
 * EVENTER_ACO_WITH_WEBSOCKET what they say of WebSocket (wslay), and EVENTER_ACO_WITH_TLS sslconfig (OpenSSL). A call of a part that is not there fails when the program is linked.
 *
 * Calls answer -1 and errno where something failed; in a coroutine that eventer_stop() has cancelled errno is ECANCELED. No
 * exception leaves them. What may lie on a coroutine's stack: whatever only the coroutine itself uses. What a job, another
 * coroutine or a classic event reaches while it waits lies on the heap: an argument of eventer_aco_simple_asynch, say.
 * A struct timeval that is given as a pointer is read before the call waits. Time limits are relative where they belong to a
 * coroutine's call, and absolute, of the wall clock, where they belong to an event. */
#ifndef EVENTER_COMPAT_EVENTER_ACO_H
#define EVENTER_COMPAT_EVENTER_ACO_H

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>

#if defined(__GNUC__) || defined(__clang__)
#define MTEV_ACO_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define MTEV_ACO_NORETURN __attribute__((noreturn))
#else
#define MTEV_ACO_PRINTF(text, first)
#define MTEV_ACO_NORETURN
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* clang-format off */

/* === 0. base === */

typedef enum { mtev_false = 0, mtev_true } mtev_boolean;                       /* in C++ an int needs a cast */

/* --- 0.1 time. A struct timeval has tv_usec in [0, 1000000), also one that stands for a negative span: -0.25 s is {-1, 750000}. --- */

int  compare_timeval(struct timeval a, struct timeval b);                      /* -1, 0, 1 */
void sub_timeval(struct timeval a, struct timeval b, struct timeval *out);     /* a - b; out may be where a or b is from */
void add_timeval(struct timeval a, struct timeval b, struct timeval *out);
double  sub_timeval_d(struct timeval a, struct timeval b);                     /* a - b in seconds */
int64_t sub_timeval_ms(struct timeval a, struct timeval b);                    /* a - b in whole milliseconds, rounded down */
int      mtev_gettimeofday(struct timeval *t, void *ttp);                      /* the wall clock; ttp is NULL */
uint64_t mtev_now_ms(void);                                                    /* the wall clock */
uint64_t mtev_now_us(void);
typedef uint64_t mtev_hrtime_t;
mtev_hrtime_t mtev_gethrtime(void);                                            /* nanoseconds of a clock that is never set back */

/* --- 0.2 logging ---
   A line, as it is written to standard error by one write(2): [2026-01-31 12:00:00.123456] [stream] message
   Streams form a tree by their names: "a/b/c" flows into "a/b", and that into "a". A stream that was not turned on or off itself is on where
   the one that it flows into is; one that flows into none is on, but for "debug". All of this works in any thread, before main and before any
   init too, and leaves errno alone. The library's own lines come to "error", to "notice", and (a line for each resume of a coroutine, with
   the bytes of its stack) to "debug/eventer/aco". */

typedef void *mtev_log_stream_t;                                               /* never freed; NULL is legal, and drops the line */
extern mtev_log_stream_t mtev_stderr, mtev_error, mtev_notice, mtev_debug;     /* "stderr", "error", "notice", "debug" */
mtev_log_stream_t mtev_log_stream_find(const char *name);                      /* makes it if it is not there; NULL: no name, or no memory */
mtev_log_stream_t mtev_log_stream_findf(const char *fmt, ...) MTEV_ACO_PRINTF(1, 2);
mtev_boolean mtev_log_stream_exists(const char *name);
/* Returns: the bytes written; 0 when the stream is off. when: NULL is now. file, line: taken, not written. A line may be long. */
int  mtev_log(mtev_log_stream_t ls, const struct timeval *when, const char *file, int line, const char *fmt, ...) MTEV_ACO_PRINTF(5, 6);
int  mtev_vlog(mtev_log_stream_t ls, const struct timeval *when, const char *file, int line, const char *fmt, va_list ap);
/* Whether a line to this stream would be written anywhere; cheap. (Ours; what the macros ask.) */
mtev_boolean mtev_log_enabled(mtev_log_stream_t ls);
/* Turns a stream on or off; those that flow into it follow, as far as they were not set themselves. (Ours.) */
void mtev_log_stream_set_enabled(mtev_log_stream_t ls, mtev_boolean on);
/* Receives each line in place of standard error: the stream's name and the message with its "\n", without the time; both are there during
   the call only. NULL: standard error again. It is called in any thread, must not wait, and may not log. (Ours.) */
void mtev_log_set_writer(void (*writer)(const char *stream, const char *line, size_t length));
/* Flushes stdout and stderr, writes a last line with its place in the source, also where the stream is off, and ends the process: abort(),
   or exit(2). NULL is mtev_error here. */
MTEV_ACO_NORETURN void mtev_log_and_end(mtev_boolean aborts, mtev_log_stream_t ls, const char *file, int line, const char *fmt, ...)
    MTEV_ACO_PRINTF(5, 6);

/* The line brings its own "\n". The arguments are not evaluated when nothing would be written; ls is evaluated once. */
#define mtevL(ls, ...)                                                                                  \
  do {                                                                                                  \
    mtev_log_stream_t mtev_log_to_ = (ls);                                                              \
    if (mtev_log_enabled(mtev_log_to_)) (void)mtev_log(mtev_log_to_, NULL, __FILE__, __LINE__, __VA_ARGS__); \
  } while (0)
/* With the time of the line, a const struct timeval *. */
#define mtevLT(ls, when, ...)                                                                            \
  do {                                                                                                   \
    mtev_log_stream_t mtev_log_to_ = (ls);                                                               \
    if (mtev_log_enabled(mtev_log_to_)) (void)mtev_log(mtev_log_to_, (when), __FILE__, __LINE__, __VA_ARGS__); \
  } while (0)
#define mtevFatal(ls, ...) mtev_log_and_end(mtev_true, (ls), __FILE__, __LINE__, __VA_ARGS__)
#define mtevTerminate(ls, ...) mtev_log_and_end(mtev_false, (ls), __FILE__, __LINE__, __VA_ARGS__)
#define mtevStartupTerminate(ls, ...) mtevTerminate((ls), __VA_ARGS__)
/* Also with NDEBUG: evaluates the condition once, and ends the program where it is false. */
#define mtevAssert(condition)                                                                            \
  do {                                                                                                   \
    if (!(condition)) mtevFatal(mtev_error, "assertion failed: %s\n", #condition);                       \
  } while (0)
#define mtevEvalAssert(condition) mtevAssert(condition)

/* --- 0.3 hash tables ---
   A table holds pointers: keys and values are the program's, are not copied, and live until delete, replace or destroy gives them to the
   functions for that (NULL: to nobody). A key is klen bytes; a negative klen says that it is a string. A table is one thread's at a time, or has
   a lock around it. Where there is no memory the process ends, with a line. */

typedef struct mtev_hash_table { void *impl; size_t count; } mtev_hash_table;  /* complete, usable by value; all-zero is empty; count is to be read */
typedef void (*NoitHashFreeFunc)(void *);
typedef struct mtev_hash_iter { void *impl[4]; union { const char *str; const void *ptr; } key; union { char *str; void *ptr; } value; int klen; } mtev_hash_iter;
#ifdef __cplusplus
#define MTEV_HASH_ITER_ZERO {}
#define MTEV_HASH_EMPTY {}
#else
#define MTEV_HASH_ITER_ZERO {{0}, {0}, {0}, 0}
#define MTEV_HASH_EMPTY {0, 0}
#endif
#define MTEV_HASH_DEFAULT_SIZE (1 << 7)
/* 1 and the next entry, or 0 at the end. In between the entry that it is at may be deleted or replaced, and nothing else may be written. */
int   mtev_hash_adv(const mtev_hash_table *h, mtev_hash_iter *it);
int   mtev_hash_next(const mtev_hash_table *h, mtev_hash_iter *it, const char **k, int *klen, void **data);      /* the same, in the older spelling */
int   mtev_hash_next_str(const mtev_hash_table *h, mtev_hash_iter *it, const char **k, int *klen, const char **v);
int   mtev_hash_retr_str(mtev_hash_table *h, const void *k, int klen, const char **out);  /* 1 if it is there; out may be NULL. Keys of header tables are lower case */
int   mtev_hash_retrieve(mtev_hash_table *h, const void *k, int klen, void **out);
void *mtev_hash_get(mtev_hash_table *h, const void *k, int klen);              /* NULL if it is not there */
int   mtev_hash_size(mtev_hash_table *h);
#define mtev_hash_dict_get(h, key) mtev_hash_dict_get_(h, key, -1)             /* key: a string */
char *mtev_hash_dict_get_(mtev_hash_table *h, const char *k, int klen);        /* NULL if it is not there; what the macro calls */
void mtev_hash_init(mtev_hash_table *h);                                       /* makes any bytes an empty table */
void mtev_hash_init_size(mtev_hash_table *h, int size);                        /* the same: tables grow by themselves */
int  mtev_hash_store(mtev_hash_table *h, const void *k, int klen, void *data); /* 1; 0 if the key is there already, and nothing changes */
/* 1. The key and the value that were there are given to the functions, except for the very pointers that are put in. */
int  mtev_hash_replace(mtev_hash_table *h, const void *k, int klen, void *data, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree);
int  mtev_hash_set(mtev_hash_table *h, const void *k, int klen, void *data, char **oldkey, void **olddata); /* 1 if there was one, which is the caller's now */
int  mtev_hash_delete(mtev_hash_table *h, const void *k, int klen, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree); /* 1 if it was there */
void mtev_hash_delete_all(mtev_hash_table *h, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree);
void mtev_hash_destroy(mtev_hash_table *h, NoitHashFreeFunc keyfree, NoitHashFreeFunc datafree); /* then it is empty, and may be used again */
void mtev_hash_merge_as_dict(mtev_hash_table *dst, mtev_hash_table *src);      /* values are strings: copies go into dst, in place of what free() gets */

/* === 1. events === */

typedef struct _event *eventer_t;                                              /* opaque */
typedef struct _event_aco *eventer_aco_t;                                      /* a type of its own, though it points to the same: a cast makes classic calls wait */
typedef struct eventer_pool_t eventer_pool_t;
typedef struct _eventer_jobq_t eventer_jobq_t;
typedef struct _eventer_job_t eventer_job_t;
typedef struct _fd_opset *eventer_fd_opset_t;
typedef struct eventer_impl_data eventer_impl_data_t;                          /* only as NULL in eventer_gettimeofcallback */
typedef int (*eventer_func_t)(eventer_t e, int mask, void *closure, struct timeval *now);
#define EVENTER_READ             0x01
#define EVENTER_WRITE            0x02
#define EVENTER_EXCEPTION        0x04
#define EVENTER_TIMER            0x08
#define EVENTER_ASYNCH_WORK_D    0x10
#define EVENTER_ASYNCH_CLEANUP_D 0x20
#define EVENTER_ASYNCH_D         0x30
#define EVENTER_ASYNCH_COMPLETE_D EVENTER_ASYNCH_D
#define EVENTER_RECURRENT        0x80
#define EVENTER_EVIL_BRUTAL      0x100   /* accepted, ignored: no job is torn out of its code */
#define EVENTER_CANCEL_DEFERRED  0x200   /* accepted, ignored */
#define EVENTER_CANCEL_ASYNCH    0x400   /* accepted, ignored */
#define EVENTER_CANCEL           0x600
#define EVENTER_DEFAULT_ASYNCH_ABORT EVENTER_EVIL_BRUTAL
typedef enum eventer_asynch_op { EVENTER_ASYNCH_WORK = 0x10, EVENTER_ASYNCH_CLEANUP = 0x20, EVENTER_ASYNCH_COMPLETE = 0x30 } eventer_asynch_op_t;
#define EVENTER_ASYNCH EVENTER_ASYNCH_COMPLETE   /* WORK and CLEANUP are bits of COMPLETE: programs compare with ==, never & */
#define EVENTER_CHOOSE_THREAD_FOR_EVENT_FD(e) eventer_choose_owner(eventer_get_fd(e) + 1)

/* --- 1.1 start and stop --- */

int  eventer_init(void);                                  /* starts all loop threads: events and coroutines run from here on. 0; -1 with a line in the log. Again: 0 */
void eventer_loop(void);                                  /* parks the calling thread, which is no loop's; returns after eventer_stop() */
void eventer_loop_return(void);                           /* returns when every loop runs, which is at once */
int  eventer_impl_propset(const char *key, const char *value);   /* before eventer_init; 0 / -1; unknown keys only warn (0). Keys: docs/from-libmtev.md */
int  eventer_propset(const char *key, const char *value);        /* the usual spelling */
int  eventer_choose(const char *name);                    /* "epoll", "kqueue", "ports": 0, and means nothing; else -1 */
int  eventer_loop_concurrency(void);                      /* threads of the default pool */
int  eventer_is_loop(pthread_t tid);                      /* its index among all loops; -1: it is none */
mtev_boolean eventer_in_loop(void);
const char *eventer_get_thread_name(void);                /* "e:default/3", "q:name" */
int  eventer_get_epoch(struct timeval *epoch);            /* when eventer_init was called; -1: it was not */

/* --- 1.2 allocate: one reference, the caller's; owner: this thread if it is a loop, else the first loop --- */

eventer_t eventer_alloc(void);                            /* blank: a timer or an asynchronous event, once mask, callback and closure are set */
eventer_t eventer_alloc_copy(eventer_t src);              /* the same descriptor, mask, callback, closure, time, owner and connection, with one reference */
eventer_t eventer_alloc_fd(eventer_func_t f, void *closure, int fd, int mask);
eventer_t eventer_alloc_timer(eventer_func_t f, void *closure, struct timeval *whence);        /* absolute wall time, copied */
eventer_t eventer_alloc_recurrent(eventer_func_t f, void *closure);
eventer_t eventer_alloc_asynch(eventer_func_t f, void *closure);
eventer_t eventer_alloc_asynch_timeout(eventer_func_t f, void *closure, struct timeval *deadline);  /* absolute */
mtev_boolean eventer_free(eventer_t e);                   /* drops one reference; true if that was the last */
mtev_boolean eventer_deref(eventer_t e);                  /* the same */
void eventer_ref(eventer_t e);
int64_t eventer_allocations_current(void);                /* events that live: for leaks */
int64_t eventer_allocations_total(void);                  /* that were ever made */

/* --- 1.3 what an event holds --- */

int            eventer_get_fd(eventer_t e);               /* -1 after eventer_close */
int            eventer_get_mask(eventer_t e);
void           eventer_set_mask(eventer_t e, int mask);   /* before it is added; then eventer_update() */
struct timeval eventer_get_whence(eventer_t e);
void           eventer_update_whence(eventer_t e, struct timeval w);   /* the timer's time; in its own callback that of the next call */
pthread_t      eventer_get_owner(eventer_t e);
void           eventer_set_owner(eventer_t e, pthread_t loop_thread);  /* before it is added, or in its callback, to move it; nothing for a coroutine's event */
eventer_func_t eventer_get_callback(eventer_t e);
void           eventer_set_callback(eventer_t e, eventer_func_t f);    /* in the callback too */
void          *eventer_get_closure(eventer_t e);
void           eventer_set_closure(eventer_t e, void *closure);
eventer_fd_opset_t eventer_get_fd_opset(eventer_t e);
eventer_t      eventer_get_this_event(void);              /* whose callback runs; in a coroutine the one that it was started for, or NULL */
eventer_pool_t *eventer_get_pool_for_event(eventer_t e);
int            eventer_thread_check(eventer_t e);         /* not 0 where this thread owns e */

/* --- 1.4 schedule. Every add hands the caller's reference to the eventer; every remove hands it back. A callback that
   returns 0 gives up the event, removed or not: the reference that the eventer held is dropped. --- */

void      eventer_add(eventer_t e);                       /* by kind: fd, timer, recurrent; an asynch event goes to the default queue */
eventer_t eventer_remove(eventer_t e);                    /* e if it was there, else NULL; not for asynchronous ones, which end by themselves */
void      eventer_update(eventer_t e, int mask);          /* what a descriptor is watched for from now on */
eventer_t eventer_remove_fd(int fd);
eventer_t eventer_find_fd(int fd);                        /* no reference taken */
#define eventer_remove_fde(e) eventer_remove_fd(eventer_get_fd(e))
void      eventer_trigger(eventer_t e, int mask);         /* runs the callback with mask on the owner (queued when on another thread), then registers what it returns */
void      eventer_wakeup(eventer_t e);                    /* its loop has a turn; NULL: the first loop */
void      eventer_add_timed(eventer_t e);
eventer_t eventer_remove_timed(eventer_t e);
void      eventer_add_recurrent(eventer_t e);             /* adding twice is one */
eventer_t eventer_remove_recurrent(eventer_t e);
eventer_t eventer_at(eventer_func_t f, void *closure, struct timeval whence);        /* not added */
eventer_t eventer_in(eventer_func_t f, void *closure, struct timeval diff);          /* not added */
eventer_t eventer_in_s_us(eventer_func_t f, void *closure, unsigned long s, unsigned long us);      /* not added */
eventer_t eventer_add_at(eventer_func_t f, void *closure, struct timeval whence);    /* returns the event, which the eventer has */
eventer_t eventer_add_in(eventer_func_t f, void *closure, struct timeval diff);
eventer_t eventer_add_in_s_us(eventer_func_t f, void *closure, unsigned long s, unsigned long us);
eventer_t eventer_alloc_timer_next_opportunity(eventer_func_t f, void *closure, pthread_t owner);   /* whence {0,0} */
eventer_t eventer_add_timer_next_opportunity(eventer_func_t f, void *closure, pthread_t owner);     /* to run something on a chosen loop */
void eventer_foreach_fdevent(void (*f)(eventer_t, void *), void *closure);
void eventer_foreach_timedevent(void (*f)(eventer_t, void *), void *closure);
#define eventer_callback(e, m, c, now) eventer_get_callback(e)((e), (m), (c), (now)) /* a call there and then: the caller acts on the answer */
int  eventer_run_callback(eventer_func_t f, eventer_t e, int m, void *c, struct timeval *n, uint64_t *dur);

/* --- 1.5 input and output through an event --- */

/* As read(2) and write(2), never waiting: where they would, -1, EAGAIN, and in *mask what the callback is to return. */
int eventer_read(eventer_t e, void *buff, size_t len, int *mask);
int eventer_write(eventer_t e, const void *buff, size_t len, int *mask);
int eventer_accept(eventer_t e, struct sockaddr *addr, socklen_t *len, int *mask);         /* the new descriptor, which still blocks */
int eventer_close(eventer_t e, int *mask);                                                 /* shutdown both ways and close, 0 at once; fd becomes -1; again: -1, errno EBADFD (77, not EBADF) */
int eventer_set_fd_nonblocking(int fd);
int eventer_set_fd_blocking(int fd);

/* --- 1.6 names --- */

int eventer_name_callback(const char *name, eventer_func_t f);                             /* also makes f a listener type. 0; -1 where another function has the name */
int eventer_name_callback_ext(const char *name, eventer_func_t f, void (*describe)(char *buf, int len, eventer_t e, void *cl), void *cl);
const char *eventer_name_for_callback(eventer_func_t f);
const char *eventer_name_for_callback_e(eventer_func_t f, eventer_t e);
eventer_func_t eventer_callback_for_name(const char *name);

/* --- 1.7 threads, pools, time --- */

pthread_t eventer_choose_owner(int n);                    /* 0: the first loop; other numbers spread over the others */
pthread_t eventer_choose_owner_pool(eventer_pool_t *pool, int n);   /* of named pools n modulo their size */
eventer_pool_t *eventer_pool(const char *name);           /* NULL if unknown; "default" exists; others come from the loop_<name> property */
const char *eventer_pool_name(eventer_pool_t *pool);
uint32_t eventer_pool_concurrency(eventer_pool_t *pool);
int eventer_gettimeofcallback(eventer_impl_data_t *t, struct timeval *now, void *tzp);     /* t and tzp: NULL. When the running callback began */
uint64_t eventer_callback_ms(void);
uint64_t eventer_callback_us(void);

/* === 2. job queues === */

typedef enum { EVENTER_JOBQ_MS_CS, EVENTER_JOBQ_MS_GC, EVENTER_JOBQ_MS_NONE } eventer_jobq_memory_safety_t;   /* kept and reported, without effect */
eventer_jobq_t *eventer_jobq_create(const char *name);                         /* the queue of that name, made where there is none */
eventer_jobq_t *eventer_jobq_create_ms(const char *name, eventer_jobq_memory_safety_t ms);   /* NULL: it is in use with another class */
eventer_jobq_t *eventer_jobq_retrieve(const char *name);                       /* NULL: there is none. "default_queue" is the default one */
void eventer_jobq_set_concurrency(eventer_jobq_t *q, uint32_t n);              /* threads at most, 1 at first; cut to [min, max]; at any time */
void eventer_jobq_set_min_max(eventer_jobq_t *q, uint32_t min, uint32_t max);  /* 0: no limit */
void eventer_jobq_set_floor(eventer_jobq_t *q, uint32_t n);                    /* threads that stay without work */
void eventer_jobq_set_max_backlog(eventer_jobq_t *q, uint32_t max);            /* for eventer_try_ calls alone; 0: none */
void eventer_jobq_set_lifo(eventer_jobq_t *q, mtev_boolean lifo);              /* the last job first; else in their order */
mtev_boolean eventer_jobq_get_lifo(eventer_jobq_t *q);
void eventer_jobq_set_shortname(eventer_jobq_t *q, const char *name);          /* of its threads; cut to 13 characters */
void eventer_jobq_drain_and_shutdown(eventer_jobq_t *q);                       /* blocks until all is done; then eventer_try_ calls are false, and others end the process */
void eventer_jobq_destroy(eventer_jobq_t *q);                                  /* after the drain */
eventer_job_t *eventer_jobq_inflight(void);                                    /* NULL outside of a job */
const char *eventer_jobq_get_queue_name(eventer_jobq_t *q);
uint32_t eventer_jobq_get_concurrency(eventer_jobq_t *q);                      /* running threads */
uint32_t eventer_jobq_get_backlog(eventer_jobq_t *q);
void eventer_jobq_get_min_max(eventer_jobq_t *q, uint32_t *min, uint32_t *max);   /* either may be NULL */
uint32_t eventer_jobq_get_floor(eventer_jobq_t *q);
eventer_jobq_memory_safety_t eventer_jobq_get_memory_safety(eventer_jobq_t *q);
void eventer_jobq_process_each(mtev_boolean (*f)(eventer_jobq_t *, void *), void *closure);

void eventer_add_asynch(eventer_jobq_t *q, eventer_t e);                       /* NULL: the default queue; subqueue: the running job's, else 0 */
void eventer_add_asynch_subqueue(eventer_jobq_t *q, eventer_t e, uint64_t id); /* subqueues take turns */
void eventer_add_asynch_dep(eventer_jobq_t *q, eventer_t e);                   /* from WORK: the parent's COMPLETE waits for all its children */
void eventer_add_asynch_dep_subqueue(eventer_jobq_t *q, eventer_t e, uint64_t id);
mtev_boolean eventer_try_add_asynch(eventer_jobq_t *q, eventer_t e);           /* false: over the backlog, or shut down; e is the caller's still */
mtev_boolean eventer_try_add_asynch_subqueue(eventer_jobq_t *q, eventer_t e, uint64_t id);
mtev_boolean eventer_try_add_asynch_dep(eventer_jobq_t *q, eventer_t e);
mtev_boolean eventer_try_add_asynch_dep_subqueue(eventer_jobq_t *q, eventer_t e, uint64_t id);

/* === 3. coroutines === */

typedef struct _event_aco_gate *eventer_aco_gate_t;
typedef void (*eventer_asynch_simple_func_t)(void *closure);                   /* called once, for WORK */
typedef void (*eventer_asynch_func_t)(eventer_asynch_op_t op, void *closure);  /* called with WORK, CLEANUP, COMPLETE */
void  eventer_aco_start(void (*func)(void), void *closure);                    /* on a loop's thread func runs at once, to its first wait; elsewhere soon, on the first loop */
void  eventer_aco_start_stack(void (*func)(void), void *closure, size_t save_stack_bytes);   /* the same: save stacks are as large as they must be */
void *eventer_aco_arg(void);                                                   /* NULL outside of one */
MTEV_ACO_NORETURN void aco_exit(void);                                         /* ends the coroutine, as returning does; destructors of C++ frames run */
mtev_boolean eventer_is_aco(eventer_t e);                                      /* NULL: whether the caller is a coroutine */
eventer_aco_t eventer_set_eventer_aco(eventer_t e);                            /* in place: e is this loop's coroutines' now, and is freed with eventer_aco_free */
eventer_t eventer_unset_eventer_aco(eventer_aco_t e);                         /* undoes that: a classic event again, not added. (Ours.) */
void *eventer_aco_get_closure(eventer_aco_t e);                                /* in a listener: the mtev_acceptor_closure_t * */
void  eventer_aco_set_closure(eventer_aco_t e, void *closure);
void  eventer_aco_sleep(struct timeval *duration);
void  mtev_aco_sleep(struct timeval *duration);                                /* the same */
/* They wait. -1 and errno: ETIME (see the property aco_timeout_errno) when the time-out, NULL for none, is over, after which one may go on; ECANCELED;
   EBADF where it was closed meanwhile; EBUSY where another coroutine waits for the same. One may read while another writes. */
int   eventer_aco_accept(eventer_aco_t e, struct sockaddr *addr, socklen_t *len, struct timeval *timeout);
int   eventer_aco_read(eventer_aco_t e, void *buff, size_t len, struct timeval *timeout);         /* what is there, at least a byte; 0 at the end */
int   eventer_aco_write(eventer_aco_t e, const void *buff, size_t len, struct timeval *timeout);  /* may be short */
int   eventer_aco_close(eventer_aco_t e);                                      /* at once; who waits on it goes on with EBADF. Twice: -1, EBADFD */
void  eventer_aco_free(eventer_aco_t e);
void  eventer_aco_set_accept_timeout(eventer_aco_t e, struct timeval *d);      /* where a call gives NULL, also a classic one; NULL: none */
void  eventer_aco_set_read_timeout(eventer_aco_t e, struct timeval *d);
void  eventer_aco_set_write_timeout(eventer_aco_t e, struct timeval *d);

eventer_aco_gate_t eventer_aco_gate(void);
void eventer_aco_gate_wait(eventer_aco_gate_t g);                              /* waits for all jobs that were started with it, and frees it: once for each gate */

void eventer_aco_simple_asynch_queue_subqueue(eventer_asynch_simple_func_t f, void *c, eventer_jobq_t *q, uint64_t id);
void eventer_aco_simple_asynch_queue_subqueue_gated(eventer_aco_gate_t g, eventer_asynch_simple_func_t f, void *c, eventer_jobq_t *q, uint64_t id);
#define eventer_aco_simple_asynch(f,c)                 eventer_aco_simple_asynch_queue_subqueue(f,c,NULL,0)
#define eventer_aco_simple_asynch_gated(g,f,c)         eventer_aco_simple_asynch_queue_subqueue_gated(g,f,c,NULL,0)
#define eventer_aco_simple_asynch_queue(f,c,q)         eventer_aco_simple_asynch_queue_subqueue(f,c,q,0)
#define eventer_aco_simple_asynch_queue_gated(g,f,c,q) eventer_aco_simple_asynch_queue_subqueue_gated(g,f,c,q,0)
/* the only family with a deadline (ABSOLUTE, NULL = none) */
void eventer_aco_asynch_queue_subqueue_deadline(eventer_asynch_func_t f, void *c, eventer_jobq_t *q, uint64_t id, struct timeval *whence);
void eventer_aco_asynch_queue_subqueue_deadline_gated(eventer_aco_gate_t g, eventer_asynch_func_t f, void *c, eventer_jobq_t *q, uint64_t id, struct timeval *whence);
#define eventer_aco_asynch(f,c)                 eventer_aco_asynch_queue_subqueue_deadline(f,c,NULL,0,NULL)
#define eventer_aco_asynch_gated(g,f,c)         eventer_aco_asynch_queue_subqueue_deadline_gated(g,f,c,NULL,0,NULL)
#define eventer_aco_asynch_queue(f,c,q)         eventer_aco_asynch_queue_subqueue_deadline(f,c,q,0,NULL)
#define eventer_aco_asynch_queue_gated(g,f,c,q) eventer_aco_asynch_queue_subqueue_deadline_gated(g,f,c,q,0,NULL)
void eventer_aco_run_asynch_queue_subqueue(eventer_jobq_t *q, eventer_t e, uint64_t id);                                   /* e: from eventer_alloc_asynch[_timeout] */
void eventer_aco_run_asynch_queue_subqueue_gated(eventer_aco_gate_t g, eventer_jobq_t *q, eventer_t e, uint64_t id);
#define eventer_aco_run_asynch(e)                 eventer_aco_run_asynch_queue_subqueue(NULL,e,0)
#define eventer_aco_run_asynch_gated(g,e)         eventer_aco_run_asynch_queue_subqueue_gated(g,NULL,e,0)
#define eventer_aco_run_asynch_queue(q,e)         eventer_aco_run_asynch_queue_subqueue(q,e,0)
#define eventer_aco_run_asynch_queue_gated(g,q,e) eventer_aco_run_asynch_queue_subqueue_gated(g,q,e,0)
mtev_boolean eventer_aco_try_run_asynch_queue_subqueue(eventer_jobq_t *q, eventer_t e, uint64_t id);                       /* false at once when over backlog */
mtev_boolean eventer_aco_try_run_asynch_queue_subqueue_gated(eventer_aco_gate_t g, eventer_jobq_t *q, eventer_t e, uint64_t id);
#define eventer_aco_try_run_asynch(e)                 eventer_aco_try_run_asynch_queue_subqueue(NULL,e,0)
#define eventer_aco_try_run_asynch_queue(q,e)         eventer_aco_try_run_asynch_queue_subqueue(q,e,0)
#define eventer_aco_try_run_asynch_gated(g,e)         eventer_aco_try_run_asynch_queue_subqueue_gated(g,NULL,e,0)
#define eventer_aco_try_run_asynch_queue_gated(g,q,e) eventer_aco_try_run_asynch_queue_subqueue_gated(g,q,e,0)

/* --- 3.1 ours, beyond libmtev --- */

int eventer_aco_connect(eventer_aco_t e, const struct sockaddr *addr, socklen_t len, struct timeval *timeout);   /* 0 / -1 */
struct iovec;
ssize_t eventer_aco_readv(eventer_aco_t e, const struct iovec *parts, int count, struct timeval *timeout);   /* once, as eventer_aco_read */
ssize_t eventer_aco_writev(eventer_aco_t e, const struct iovec *parts, int count, struct timeval *timeout);  /* all of it, as eventer_aco_write_all */
ssize_t eventer_aco_write_all(eventer_aco_t e, const void *buff, size_t len, struct timeval *timeout);       /* all of it: len, or -1; the limit is for the whole */
/* From any thread: every coroutine is cancelled, which is to say that each of its calls answers -1 with errno ECANCELED, and is
   given `grace` (NULL: 5 s) to return; then the loops end, and eventer_loop() returns in whoever is in it. Returns: how many coroutines
   did not return, and stay where they are. Not from a loop thread. */
size_t eventer_stop(const struct timeval *grace);

/* === 4. listeners ===
   What listens is in the configuration file, TOML (mtev_conf_load; else <toplevel>.toml in the current directory). A listener's `type` names what serves
   its connections: a callback of eventer_name_callback, a function of mtev_listener_register_aco_function, control_dispatch, or http_rest_api.

     [listeners]                    # what is here holds for all listeners in it; so do its config and sslconfig tables
     address = "*"                  # IPv4; "inet6:*", an address, or the path of a unix socket
     [listeners.config]             # texts, for the program: mtev_acceptor_closure_config
     idle_timeout = 60000           # ms
     [[listeners.listener]]
     type = "listen_to_me"
     port = 8888

   docs/from-libmtev.md has every key. Connections stay on one loop, unless fanout = "on". */

typedef struct mtev_acceptor_closure_t mtev_acceptor_closure_t;                /* the closure of every event that a listener makes */
/* After eventer_init, and after all types are registered. A listener whose configuration is wrong is skipped: the log says where and what would be right;
   the others start. Called again it starts what its file says beside what runs. */
void mtev_listener_init(const char *toplevel);
/* Each connection of this type runs func as a coroutine, whose eventer_aco_arg() is an eventer_aco_t; its closure, the acceptor's, ends with the coroutine.
   The first registration of a name stays; a callback of that name wins over it. */
void mtev_listener_register_aco_function(const char *name, void (*func)(void));
void mtev_listener_skip(const char *address, int port);                        /* before init: such a listener is not started. NULL: any address, as it is written; 0: any port */
/* The port of the first listener of a type; -1: there is none. A listener with port = 0 has one that the kernel has chosen. (Ours.) */
int mtev_listener_port(const char *type);
/* A classic callback's duty, once, when its connection ends: also frees the ctx. In a coroutine, where the closure lives until the end anyway, it frees the ctx alone. */
void mtev_acceptor_closure_free(mtev_acceptor_closure_t *ac);
void *mtev_acceptor_closure_ctx(mtev_acceptor_closure_t *ac);                  /* the program's own; NULL at first */
void mtev_acceptor_closure_set_ctx(mtev_acceptor_closure_t *ac, void *ctx, void (*free_ctx)(void *));   /* free_ctx: called once, with the end of ac; may be NULL */
void mtev_acceptor_closure_ctx_free(mtev_acceptor_closure_t *ac);              /* frees the ctx only */
mtev_hash_table *mtev_acceptor_closure_config(mtev_acceptor_closure_t *ac);    /* the listener's config as strings, to be read; never freed */
struct sockaddr *mtev_acceptor_closure_remote(mtev_acceptor_closure_t *ac);    /* who has connected; lives as long as ac */
const char *mtev_acceptor_closure_remote_cn(mtev_acceptor_closure_t *ac);      /* the common name in the client's certificate, which has been verified; NULL without */
uint32_t mtev_acceptor_closure_cmd(mtev_acceptor_closure_t *ac);               /* with control_dispatch: the first four bytes, in host order */
eventer_func_t mtev_acceptor_closure_dispatch(mtev_acceptor_closure_t *ac);    /* the listener's callback; NULL where it has none */
/* For callbacks, which idle_timeout would end otherwise; coroutines' reads and writes count by themselves. The time: NULL is now. An idle connection is shut
   down, which whoever reads it sees as its end. */
void mtev_acceptor_closure_mark_read(mtev_acceptor_closure_t *ac, struct timeval *now);
void mtev_acceptor_closure_mark_write(mtev_acceptor_closure_t *ac, struct timeval *now);
void mtev_acceptor_closure_readwrite_age(mtev_acceptor_closure_t *ac, struct timeval *now, struct timeval *age);   /* since the later of both marks (there: since the read) */
/* The listener type control_dispatch: four bytes, a number in network order, say which delegate serves a connection; what begins as an HTTP request does goes to
   http_rest_api, where that is registered, with those bytes still to be read. Others are closed. A callback may leave its connection to it, too. */
int  mtev_control_dispatch(eventer_t e, int mask, void *closure, struct timeval *now);
/* listener_dispatch: mtev_control_dispatch, or the callback of the listener that calls it. The delegate is called with the bytes behind the four to be read. */
void mtev_control_dispatch_delegate(eventer_func_t listener_dispatch, uint32_t cmd, eventer_func_t delegate);
int  mtev_convert_sockaddr_to_buff(char *buf, int len, struct sockaddr *sa);   /* the address without its port, or a unix socket's path; returns its length */

/* === 5. REST ===
   Rules say which handler answers which requests; the listener type "http_rest_api" serves them. A rule may be added at any time. Of those whose
   base is the longest that the decoded path begins with, the first registered one wins whose method fits and whose expression is found in the rest
   of the path: RE2's syntax, anywhere unless ^ and $ say where; neither back-references nor look-around. HEAD is answered from GET, OPTIONS with Allow;
   404, 405 and 413 come by themselves.
   A rule's handler is classic, or runs as a coroutine (mtev_rest_mountpoint_set_aco). A classic one must not wait: it returns 0 when it has called
   mtev_http_response_end, or a mask to be called again: what mtev_rest_complete_upload or mtev_http_session_req_consume gave it, when more of the body
   has come; one with EVENTER_WRITE, when what was said so far is sent. Or it lets the request float (6.1) and returns 0. One in a coroutine
   waits inside, and returns once. Where a handler has returned and nothing of this holds, the request is ended for it, with a line of the stream
   "debug": with what it has said, or with 500 if that was nothing. */

typedef struct mtev_http_session_ctx mtev_http_session_ctx;
typedef struct mtev_http_request mtev_http_request;
typedef struct mtev_http_response mtev_http_response;
typedef struct mtev_http_connection mtev_http_connection;
typedef struct mtev_http_rest_closure mtev_http_rest_closure_t;
typedef struct rest_url_dispatcher mtev_rest_mountpoint_t;                     /* a rule; it stays until the process ends */
/* pats: what the npats groups of the expression have captured, decoded, "" for one that took no part; valid as long as the request. */
typedef int (*rest_request_handler)(mtev_http_rest_closure_t *restc, int npats, char **pats);
typedef mtev_boolean (*rest_authorize_func_t)(mtev_http_rest_closure_t *restc, int npats, char **pats);    /* before the handler; false: 403, or what it has answered itself */
/* See 5.1. opcode: 1 text, which is UTF-8, 2 binary (wslay's WSLAY_TEXT_FRAME, WSLAY_BINARY_FRAME). msg: a whole message, a NUL behind it, until the handler returns. */
typedef int (*rest_websocket_message_handler)(mtev_http_rest_closure_t *restc, int opcode, const unsigned char *msg, size_t len);
struct mtev_http_rest_closure {                /* one for each request; programs read and WRITE it */
  mtev_http_session_ctx *http_ctx;
  mtev_acceptor_closure_t *ac;                 /* ends with the connection */
  char *remote_cn;                             /* of the client's certificate; "" without, never NULL */
  rest_request_handler fastpath;               /* WRITTEN: the handler for the next calls for this request; NULL: the rule's */
  rest_websocket_message_handler websocket_handler_memo;   /* WRITTEN: the handler for the next messages of a WebSocket; the rule's at first */
  int nparams; char **params;                  /* = npats, pats */
  int wants_shutdown;                          /* WRITTEN: the connection ends behind this answer */
  void *call_closure;                          /* WRITTEN: what belongs to the request */
  void (*call_closure_free)(void *);           /* WRITTEN: called once with it when the request has ended, also where the client left. Where its connection has ended while it
                                                  floats: by the resume that is still owed, on that thread */
  void *closure;                               /* the rule's; never freed for you */
  mtev_boolean aco_enabled;                    /* the handler runs as a coroutine */
};
#define MTEV_CONTROL_OPTIONS 0x4f505449
#define MTEV_CONTROL_GET    0x47455420
#define MTEV_CONTROL_HEAD   0x48454144
#define MTEV_CONTROL_POST   0x504f5354
#define MTEV_CONTROL_DELETE 0x44454c45
#define MTEV_CONTROL_PUT    0x50555420
#define MTEV_CONTROL_MERGE  0x4d455247
void mtev_http_rest_init(void);                                                /* registers "http_rest_api": before mtev_listener_init */
/* NULL, or -1, with a line in the log that says what is wrong: a base that does not begin and end with '/', a bad expression, a wf that can't be served (5.1).
   method: "GET", or "*" for all, or "WS": 5.1. Where f is NULL, 404 is answered. new_rule and register ask mtev_http_rest_client_cert_auth; with an `auth` of NULL everybody may. */
mtev_rest_mountpoint_t *mtev_http_rest_new_rule(const char *method, const char *base, const char *expression, rest_request_handler f);
mtev_rest_mountpoint_t *mtev_http_rest_new_rule_auth_closure(const char *method, const char *base, const char *expression, rest_request_handler f,
                            rest_websocket_message_handler wf, const char *websocket_protocol, rest_authorize_func_t auth, void *closure);
int mtev_http_rest_register(const char *method, const char *base, const char *expression, rest_request_handler f);
int mtev_http_rest_register_closure(const char *method, const char *base, const char *expression, rest_request_handler f, void *closure);
int mtev_http_rest_register_auth(const char *method, const char *base, const char *expression, rest_request_handler f, rest_authorize_func_t auth);
int mtev_http_rest_register_auth_closure(const char *method, const char *base, const char *expression, rest_request_handler f,
                            rest_websocket_message_handler wf, const char *websocket_protocol, rest_authorize_func_t auth, void *closure);
/* Whether the configuration's access lists, [[rest.acl]], let this request in. No list at all: everybody (there: nobody). A list that is wrong: nobody. */
mtev_boolean mtev_http_rest_client_cert_auth(mtev_http_rest_closure_t *restc, int npats, char **pats);
/* From any thread; for the requests that come then. */
void mtev_rest_mountpoint_set_aco(mtev_rest_mountpoint_t *m, mtev_boolean enabled);
void mtev_rest_mountpoint_set_auth(mtev_rest_mountpoint_t *m, rest_authorize_func_t f);                  /* NULL: everybody */
void mtev_rest_mountpoint_set_handler(mtev_rest_mountpoint_t *m, rest_request_handler f);
void mtev_rest_mountpoint_set_closure(mtev_rest_mountpoint_t *m, void *closure);
/* The handler runs on a loop of that pool, and finds the body complete; the connection stays where it is, and sends there. */
void mtev_rest_mountpoint_set_eventer_pool(mtev_rest_mountpoint_t *m, eventer_pool_t *pool);
/* The whole body into memory, up to the property http_upload_limit (1 MiB; beyond it the client gets 413). The FIRST thing in a handler; true: it is there. False: `return
   mask`. In a coroutine it waits, and false says that no more will come. */
mtev_boolean mtev_rest_complete_upload(mtev_http_rest_closure_t *restc, int *mask);
void *rest_get_raw_upload(mtev_http_rest_closure_t *restc, int *mask, int *complete, int *size);         /* the same, older; NULL while it is not complete */
/* A handler for an expression with one group: the file of that name beneath document_root of the listener's config, or index_file (index.html) of a folder; nothing outside
   of that root, whatever links say. Its type is mime_type_<end of its name> there, or a usual one. */
int mtev_rest_simple_file_handler(mtev_http_rest_closure_t *restc, int npats, char **pats);
void mtev_http_rest_load_rules(void);                                          /* reads the access lists again */
void mtev_http_rest_disclose_endpoints(const char *base, const char *expr);    /* a rule for GET whose answer lists all rules, as JSON */
void mtev_http_rest_clean_request(mtev_http_rest_closure_t *restc);            /* call_closure is freed now, and fastpath forgotten */

/* --- 5.1 WebSocket, with EVENTER_ACO_WITH_WEBSOCKET; else these are -1, with a line in the log, and do nothing.
   A rule whose wf is not NULL serves the WebSockets on its paths that ask for its protocol: of those in Sec-WebSocket-Protocol the first for which there is such a rule
   is agreed on; none: 400. Other requests have the rules that are there for them; one with the method "WS" serves WebSockets alone. Its `auth` is asked before the 101, and
   a page may connect to the host that it is from; to another one where the listener's config says so: websocket_origins = "https://example.org", or "*".
   wf is called for each message, in the connection's coroutine, where it may wait, aco or not: the next message has to wait, others' connections have not. 0: go on. Anything
   else, or restc->wants_shutdown: what was queued is sent, the peer is told 1000, and the connection ends. restc, its http_ctx and call_closure live as long as that;
   then call_closure_free is called. Texts and tables of the request stay. A message has up to http_upload_limit bytes. idle_timeout counts from the last message, of either side. --- */

int mtev_http_rest_websocket_register(const char *base, const char *expression, const char *protocol, rest_websocket_message_handler f);     /* everybody may */
int mtev_http_rest_websocket_register_closure(const char *base, const char *expression, const char *protocol, rest_websocket_message_handler f, void *closure);
int mtev_http_rest_websocket_register_auth(const char *base, const char *expression, const char *protocol, rest_websocket_message_handler f, rest_authorize_func_t auth);
int mtev_http_rest_websocket_register_auth_closure(const char *base, const char *expression, const char *protocol, rest_websocket_message_handler f,
                            rest_authorize_func_t auth, void *closure);
void mtev_rest_mountpoint_set_websocket(mtev_rest_mountpoint_t *m, const char *protocol, rest_websocket_message_handler f);   /* of a rule for GET, * or WS; NULL: none any more */

/* === 6. HTTP session === */

#define MTEV_HTTP_CHUNKED      0x0001
#define MTEV_HTTP_CLOSE        0x0002
#define MTEV_HTTP_GZIP         0x0010
#define MTEV_HTTP_DEFLATE      0x0020
mtev_http_request    *mtev_http_session_request(mtev_http_session_ctx *ctx);
mtev_http_response   *mtev_http_session_response(mtev_http_session_ctx *ctx);
mtev_http_connection *mtev_http_session_connection(mtev_http_session_ctx *ctx);
mtev_acceptor_closure_t *mtev_http_session_acceptor_closure(mtev_http_session_ctx *ctx);
/* Up to len and blen bytes of the body, which may be of any size: >0; 0 at its end; -1 and errno. A classic handler gets EAGAIN and a mask to return where no more has come. */
int  mtev_http_session_req_consume(mtev_http_session_ctx *ctx, void *buf, const size_t len, const size_t blen, int *mask);
/* The request. From any thread; texts and tables are valid as long as the session. The body is its handler's alone. */
const char *mtev_http_request_uri_str(mtev_http_request *r);                   /* the path, wholly decoded, '+' being a space, without the query */
const char *mtev_http_request_method_str(mtev_http_request *r);
const char *mtev_http_request_protocol_str(mtev_http_request *r);              /* "HTTP/1.0" or "HTTP/1.1" */
const char *mtev_http_request_querystring(mtev_http_request *r, const char *key);   /* decoded, the first of that name; NULL where it is absent, or has no '=' */
const char *mtev_http_request_orig_querystring(mtev_http_request *r);          /* as it was sent; NULL without '?' */
mtev_hash_table *mtev_http_request_querystring_table(mtev_http_request *r);
mtev_hash_table *mtev_http_request_headers_table(mtev_http_request *r);        /* names in lower case; of a repeated one the last */
size_t mtev_http_request_content_length(mtev_http_request *r);                 /* as it was announced; 0 for chunks */
size_t mtev_http_request_content_length_read(mtev_http_request *r);
mtev_boolean mtev_http_request_has_payload(mtev_http_request *r);
mtev_boolean mtev_http_request_payload_chunked(mtev_http_request *r);
mtev_boolean mtev_http_request_payload_complete(mtev_http_request *r);
const void *mtev_http_request_get_upload(mtev_http_request *r, int64_t *size); /* after complete_upload, a NUL behind it; size may be NULL; freed with the request */
void mtev_http_request_set_upload(mtev_http_request *r, void *data, int64_t size, void (*f)(void *, int64_t, void *), void *closure);   /* in its place; f frees it */
void mtev_http_request_start_time(mtev_http_request *r, struct timeval *t);    /* when its head had come */
const char *mtev_http_request_user(mtev_http_request *r);                      /* as set_auth has said; NULL */
const char *mtev_http_request_auth(mtev_http_request *r);
void mtev_http_request_set_auth(mtev_http_request *r, const char *user, const char *mech);   /* for access lists; both copied */
/* The answer. From any thread, a job's too. The setters are false once something is sent, or is about to be; the appenders once it has ended, or the
   client is gone. Nothing is sent before 32 KiB are collected, or flush or end ask for it. What is whole at the end is sent at once, with its length,
   whatever was asked for; else in chunks, or after a Content-Length that was set, or up to the connection's end. Where that length was wrong
   the connection is cut. A classic handler's bytes leave when it has returned; a coroutine waits in these calls for a slow client; any other
   thread waits while more than 1 MiB is collected. */
mtev_boolean mtev_http_response_status_set(mtev_http_session_ctx *ctx, int code, const char *reason);    /* 200..599 (there: 100..999) */
mtev_boolean mtev_http_response_header_set(mtev_http_session_ctx *ctx, const char *name, const char *value);   /* replaces; both copied; false for what would break the line */
mtev_boolean mtev_http_response_option_set(mtev_http_session_ctx *ctx, uint32_t option);                 /* false: CHUNKED for HTTP/1.0; GZIP and DEFLATE always */
mtev_boolean mtev_http_response_append(mtev_http_session_ctx *ctx, const void *data, size_t len);        /* copied */
mtev_boolean mtev_http_response_append_str(mtev_http_session_ctx *ctx, const char *s);
mtev_boolean mtev_http_response_appendf(mtev_http_session_ctx *ctx, const char *fmt, ...) MTEV_ACO_PRINTF(2, 3);
mtev_boolean mtev_http_response_vappend(mtev_http_session_ctx *ctx, const char *fmt, va_list ap);
mtev_boolean mtev_http_response_append_mmap(mtev_http_session_ctx *ctx, int fd, size_t len, int flags, off_t offset);   /* of a file, which is read here; flags: ignored. False: it has not so much */
void         mtev_http_response_auto_flush(mtev_http_session_ctx *ctx, size_t bytes);                    /* in the place of 32 KiB; 1 MiB at most; 0: each append is sent */
mtev_boolean mtev_http_response_flush(mtev_http_session_ctx *ctx, mtev_boolean final);                   /* final: end */
mtev_boolean mtev_http_response_flush_asynch(mtev_http_session_ctx *ctx, mtev_boolean final);            /* the same */
mtev_boolean mtev_http_response_end(mtev_http_session_ctx *ctx);                                         /* once, also for an empty body */
size_t       mtev_http_response_buffered(mtev_http_session_ctx *ctx);                                    /* bytes that are collected, and not sent */
int          mtev_http_response_status(mtev_http_response *r);
mtev_boolean mtev_http_response_closed(mtev_http_response *r);                                           /* end was called */
mtev_boolean mtev_http_response_complete(mtev_http_response *r);                                         /* and all bytes are on their way */
size_t       mtev_http_response_bytes_written(mtev_http_response *r);                                    /* of the body */
mtev_hash_table *mtev_http_response_headers_table(mtev_http_response *r);                                /* as they were set; valid until the next is set */
/* Statements, each argument used once: status, Content-Type, chunked, or where that can't be, closing. */
#define mtev_http_response_standard(ctx, code, name, type)                                    \
  do {                                                                                        \
    mtev_http_session_ctx *mtev_http_to_ = (ctx);                                             \
    (void)mtev_http_response_status_set(mtev_http_to_, (code), (name));                       \
    (void)mtev_http_response_header_set(mtev_http_to_, "Content-Type", (type));               \
    if (!mtev_http_response_option_set(mtev_http_to_, MTEV_HTTP_CHUNKED))                     \
      (void)mtev_http_response_option_set(mtev_http_to_, MTEV_HTTP_CLOSE);                    \
  } while (0)
#define mtev_http_response_ok(ctx, type) mtev_http_response_standard(ctx, 200, "OK", type)
#define mtev_http_response_not_found(ctx, type) mtev_http_response_standard(ctx, 404, "NOT FOUND", type)
#define mtev_http_response_denied(ctx, type) mtev_http_response_standard(ctx, 403, "DENIED", type)
#define mtev_http_response_server_error(ctx, type) mtev_http_response_standard(ctx, 500, "ERROR", type)

/* --- 6.1 asynchronous answers the classic way. A handler floats the request first, then gives the session to whoever goes on with it (a job, say), and returns 0. He may
   say of the answer what he likes, and resumes it once, which may be before the handler has returned; then restc->fastpath, or the rule's handler, is called again,
   unless the answer has ended. --- */

eventer_t mtev_http_connection_event(mtev_http_connection *c);                 /* the session's; NULL once it is closed. eventer_trigger resumes; reading and writing it is the library's */
eventer_t mtev_http_connection_event_float(mtev_http_connection *c);           /* floats; NULL in a coroutine, and nothing happens: programs test it */
void mtev_http_connection_resume_after_float(mtev_http_connection *c);         /* from any thread; no effect where it does not float */
void mtev_http_session_resume_after_float(mtev_http_session_ctx *ctx);         /* the same */
void mtev_http_session_trigger(mtev_http_session_ctx *ctx, int mask);          /* the same */
void mtev_http_session_ref_inc(mtev_http_session_ctx *ctx);                    /* its memory stays until ref_dec; the request ends as ever */
mtev_boolean mtev_http_session_ref_dec(mtev_http_session_ctx *ctx);            /* true: that was the last reference */
void *mtev_http_session_dispatcher_closure(mtev_http_session_ctx *ctx);        /* the mtev_http_rest_closure_t * */
mtev_boolean mtev_http_session_aco(mtev_http_session_ctx *ctx);

/* --- 6.2 WebSocket (5.1) --- */

mtev_boolean mtev_http_is_websocket(mtev_http_session_ctx *ctx);               /* in `auth` already */
/* From any thread, in order, copied, at once: the connection's loop sends. opcode: 1 text, 2 binary, 9 ping and 10 pong (up to 125 bytes), 8 close: nothing may follow; msg is
   its code in two bytes, most significant first, and a reason, or nothing for 1000. In `auth`: sent behind the 101. False: the connection is over, or will be; or this is no
   message (text that is not UTF-8, another opcode). Where more than the property websocket_queue_limit (8 MiB) waits, as the peer takes too little, the connection ends; but
   its own handler waits for room instead. It also ends where the peer takes nothing for 30 s. */
mtev_boolean mtev_http_websocket_queue_msg(mtev_http_session_ctx *ctx, int opcode, const unsigned char *msg, size_t len);

/* === 7. the frame of a program === */

typedef enum { MTEV_LOCK_OP_NONE = 0, MTEV_LOCK_OP_LOCK, MTEV_LOCK_OP_WAIT } mtev_lock_op_t;
/* Loads the configuration file (NULL: <appname>.toml in the current directory), runs child_main here, in the foreground, and returns what
   that does; -1, with a line in the log, where the file can't be read. debug: turns mtev_debug on. What foreground = 0, lock, glider,
   drop_to_user and drop_to_group ask for is not done here: one line in the log says so. */
int  mtev_main(const char *appname, const char *config_filename, int debug, int foreground, mtev_lock_op_t lock, const char *glider,
               const char *drop_to_user, const char *drop_to_group, int (*child_main)(void));
void mtev_main_eventer_config(const char *name, const char *value);            /* before eventer_init: a default that the configuration may override */
void mtev_main_enable_log(const char *name);                                   /* as mtev_log_stream_set_enabled */
void mtev_main_disable_log(const char *name);
void mtev_memory_init(void);                                                   /* does nothing here */
/* 0, or -1, errno and a line in the log where the file can't be read; then the one before stays in force. NULL: the file that mtev_main
   had, as programs call it at the top of child_main. What is in the file is looked at by those who need it: mtev_listener_init, say. */
int  mtev_conf_load(const char *path);

/* The fixed lines of a libmtev program's child_main, which have nothing to do here. */
#ifdef EVENTER_ACO_LIBMTEV_STUBS
#define mtev_console_init(appname) ((void)(appname))
#define mtev_console_conf_init() ((void)0)
#define mtev_dso_init() ((void)0)
#define mtev_dso_post_init() ((void)0)
static inline int mtev_dso_load_failures(void) { return 0; }
#define mtev_capabilities_listener_init() ((void)0)
#define mtev_events_rest_init() ((void)0)
#define mtev_stats_rest_init() ((void)0)
#define mtev_heap_profiler_rest_init() ((void)0)
static inline int mtev_conf_write_log(void) { return 0; }                      /* a function: its address is given to the last of these */
#define mtev_conf_coalesce_changes(seconds) ((void)(seconds))
#define mtev_conf_watch_and_journal_watchdog(function, closure) ((void)(function), (void)(closure))
#endif

/* clang-format on */

#ifdef __cplusplus
}
#endif

#endif

/* Outside of the guard: the macro may also be defined after a first include. */
#ifdef EVENTER_ACO_IMPLEMENTATION
#ifndef __cplusplus
#error "EVENTER_ACO_IMPLEMENTATION belongs into a C++ file (C++20) of the program"
#endif
#include "eventer/compat/implementation.hpp"
#endif
