/*
 * Learns a word from a folder of pictures and draws a prompt with it, in C++:
 *
 *   learn PICTURES '<toy>' 'toy' 'a photo of <toy> in the snow' snow.png [MODEL [STEPS]]
 *
 * c++ -std=c++17 learn.cpp $(pkg-config --cflags --libs textinv) -o learn
 *
 * What a C++ program adds to the C interface is in the namespace below: handles that free
 * themselves, a status that becomes an exception, and a function object as callback.
 */
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <textinv/textinv.h>

namespace textinv
{

// a unique_ptr frees with this
template <auto free> struct release {
  template <typename T> void operator()(T *p) const
  {
    free(p);
  }
};

template <typename T, auto free> using handle = std::unique_ptr<T, release<free>>;
using session = handle<textinv_session, textinv_session_free>;
using model = handle<textinv_model, textinv_model_free>;
using words = handle<textinv_embeddings, textinv_embeddings_free>;
using images = handle<textinv_images, textinv_images_free>;

// a call failed: its status, and the message as what()
struct error : std::runtime_error {
  error(textinv_status s, const char *message)
      : std::runtime_error(std::string(textinv_status_name(s)) + ": " + message), status(s)
  {
  }

  textinv_status status;
};

inline void check(textinv_status status, const textinv_session *s)
{
  if (status < 0)
    throw error(status, textinv_session_error(s));
}

// Owns what a call returns through its first argument: make<model>(s, textinv_model_open, s.get(),
// path).
template <typename Handle, typename Function, typename... Arguments>
Handle make(const session &s, Function function, Arguments... arguments)
{
  typename Handle::pointer p = nullptr;
  const textinv_status status = function(&p, arguments...);
  Handle out(p);
  check(status, s.get());
  return out;
}

// Options with their defaults.
template <typename Params> Params defaults(textinv_status (*init)(Params *, size_t))
{
  Params params;
  check(init(&params, sizeof(params)), nullptr);
  return params;
}

// A function as progress callback. Nothing may be thrown through C: what it throws stops the run,
// and goes on from rethrow() after the call.
class observer
{
public:
  using function = std::function<void(const textinv_progress &)>;

  explicit observer(function f) : f_(std::move(f))
  {
  }
  observer(const observer &) = delete;
  observer &operator=(const observer &) = delete;

  template <typename Params> void watch(Params &params)
  {
    params.progress = call;
    params.progress_user = this;
  }

  void rethrow() const
  {
    if (thrown_)
      std::rethrow_exception(thrown_);
  }

private:
  static int32_t call(void *user, const textinv_progress *progress) noexcept
  {
    auto *self = static_cast<observer *>(user);
    try {
      self->f_(*progress);
      return 0;
    } catch (...) {
      self->thrown_ = std::current_exception();
      return 1;
    }
  }

  function f_;
  std::exception_ptr thrown_;
};

} // namespace textinv

static volatile std::sig_atomic_t interrupted;

static void interrupt(int)
{
  interrupted = 1;
  std::signal(SIGINT, SIG_DFL); // the second Ctrl-C does not wait for a step
}

static uint32_t read_steps(const char *text)
{
  char *end;
  const unsigned long steps = std::strtoul(text, &end, 10);

  if (*text == '-' || *end || !steps || steps > UINT32_MAX)
    throw std::runtime_error(std::string("STEPS is \"") + text + "\", expected a number above 0");
  return static_cast<uint32_t>(steps);
}

// Learns, saves the word beside the picture as OUT.safetensors, and draws.
static void run(int argc, char **argv)
{
  const std::string out = argv[5];

  auto s = textinv::make<textinv::session>(nullptr, textinv_session_new, nullptr);
  auto model = textinv::make<textinv::model>(s, textinv_model_open, s.get(),
                                             argc > 6 ? argv[6] : nullptr);
  auto words = textinv::make<textinv::words>(s, textinv_embeddings_new, s.get());

  auto toy = textinv::defaults(textinv_concept_init);
  toy.images_path = argv[1];
  toy.placeholder = argv[2];
  toy.initializer = argv[3];

  auto learn = textinv::defaults(textinv_invert_params_init);
  learn.concepts = &toy;
  learn.num_concepts = 1;
  learn.steps = argc > 7 ? read_steps(argv[7]) : 300;

  textinv::observer observer([](const textinv_progress &p) {
    if (p.step % 50 == 0 || p.step == p.steps)
      std::fprintf(stderr, "%s: step %u of %u, %.0f s to go\n", p.phase, p.step, p.steps, p.eta);
    if (interrupted)
      throw std::runtime_error("interrupted");
  });
  observer.watch(learn);
  textinv_status status = textinv_invert(s.get(), model.get(), words.get(), &learn, nullptr);
  observer.rethrow();
  textinv::check(status, s.get());
  textinv::check(textinv_embeddings_save(s.get(), words.get(), (out + ".safetensors").c_str(),
                                         TEXTINV_FORMAT_AUTO, nullptr),
                 s.get());

  auto draw = textinv::defaults(textinv_generate_params_init);
  draw.prompt = argv[4];
  draw.seed = 42;
  observer.watch(draw);
  textinv_images *drawn = nullptr;
  status = textinv_generate(&drawn, s.get(), model.get(), words.get(), &draw);
  textinv::images images(drawn);
  observer.rethrow();
  textinv::check(status, s.get());
  textinv::check(textinv_images_save(s.get(), images.get(), 0, out.c_str(), nullptr), s.get());
}

int main(int argc, char **argv)
{
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s PICTURES WORD INITIALIZER PROMPT OUT.png [MODEL [STEPS]]\n",
                 argv[0]);
    return 2;
  }
  std::signal(SIGINT, interrupt);
  try {
    run(argc, argv);
  } catch (const std::exception &e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 1;
  }
  return 0;
}
