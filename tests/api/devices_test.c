/* The devices that are listed without a session. Those of the emulated driver: tests/cuda. */
#include "testing_api.h"

#include <sched.h>

/* as refused(), of calls without a session; count and info stay empty */
static void none_of(textinv_status expected, const char *part, textinv_backend backend,
                    const char *path)
{
  textinv_device_info d;
  uint32_t count = 7;

  assert_int_equal(textinv_device_info_init(&d, sizeof(d)), TEXTINV_OK);
  refused(textinv_device_count(&count, backend, path), expected, part);
  assert_int_equal(count, 0);
  refused(textinv_device_get_info(&d, backend, 0, path), expected, part);
  assert_int_equal(d.usable, 0);
  assert_string_equal(d.name, "");
}

static void the_processor_is_a_device(void **state)
{
  textinv_device_info d;
  textinv_session_params p;
  textinv_session *s;
  uint32_t count = 0;
  cpu_set_t set;

  (void)state;
  must(textinv_device_count(&count, TEXTINV_BACKEND_CPU, NULL));
  assert_int_equal(count, 1);
  must(textinv_device_info_init(&d, sizeof(d)));
  must(textinv_device_get_info(&d, TEXTINV_BACKEND_CPU, 0, NULL));
  assert_int_equal(d.struct_size, sizeof(d));
  assert_int_equal(d.backend, TEXTINV_BACKEND_CPU);
  assert_int_equal(d.device, 0);
  assert_int_equal(d.usable, 1);
  assert_string_equal(d.reason, "");
  assert_true(d.name[0] != ' ' && strlen(d.name) < sizeof(d.name));
  assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
  assert_int_equal(d.units, CPU_COUNT(&set));
  assert_int_equal(d.capability_major, 0);
  assert_int_equal(d.capability_minor, 0);
  assert_true(d.memory > 1 << 24);
  /* and what it says can be opened can be opened */
  must(textinv_session_params_init(&p, sizeof(p)));
  p.backend = d.backend;
  p.device = d.device;
  must(textinv_session_new(&s, &p));
  textinv_session_free(s);
}

static void what_hinders_cuda_is_told(void **state)
{
  (void)state;
  /* beside this program, which holds the library, there is no plug-in */
  none_of(TEXTINV_E_BACKEND, "the CUDA plug-in cannot be loaded", TEXTINV_BACKEND_CUDA, NULL);
  none_of(TEXTINV_E_BACKEND, "/nowhere/x.so", TEXTINV_BACKEND_CUDA, "/nowhere/x.so");
  none_of(TEXTINV_E_INVALID, "libtextinv-cuda.so: backend_path must contain a '/'",
          TEXTINV_BACKEND_CUDA, "libtextinv-cuda.so");
  none_of(TEXTINV_E_INVALID, "backend is 2", 2, NULL);
  none_of(TEXTINV_E_INVALID, "backend is -1", -1, NULL);
}

static void arguments_are_checked(void **state)
{
  textinv_device_info d;

  (void)state;
  refused(textinv_device_count(NULL, TEXTINV_BACKEND_CPU, NULL), TEXTINV_E_INVALID,
          "count is NULL");
  refused(textinv_device_get_info(NULL, TEXTINV_BACKEND_CPU, 0, NULL), TEXTINV_E_INVALID,
          "info is NULL");
  must(textinv_device_info_init(&d, sizeof(d)));
  refused(textinv_device_get_info(&d, TEXTINV_BACKEND_CPU, 1, NULL), TEXTINV_E_INVALID,
          "device is 1; 0 to 0 are there");
  refused(textinv_device_get_info(&d, TEXTINV_BACKEND_CPU, -1, NULL), TEXTINV_E_INVALID,
          "device is -1");
  assert_int_equal(d.usable, 0);
  d.struct_size = 16;
  refused(textinv_device_get_info(&d, TEXTINV_BACKEND_CPU, 0, NULL), TEXTINV_E_INVALID,
          "device_info was not initialised: use textinv_device_info_init()");
  assert_int_equal(d.usable, 0);
}

/* a caller of a later release gets zeros in what this library does not know */
static void a_longer_struct_is_filled(void **state)
{
  struct {
    textinv_device_info known;
    uint64_t added;
  } later;

  (void)state;
  memset(&later, 0xaa, sizeof(later));
  must(textinv_device_info_init(&later.known, sizeof(later)));
  later.added = 5;
  must(textinv_device_get_info(&later.known, TEXTINV_BACKEND_CPU, 0, NULL));
  assert_int_equal(later.known.struct_size, sizeof(later));
  assert_int_equal(later.known.usable, 1);
  assert_int_equal(later.added, 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_processor_is_a_device),
    cmocka_unit_test(what_hinders_cuda_is_told),
    cmocka_unit_test(arguments_are_checked),
    cmocka_unit_test(a_longer_struct_is_filled),
  };

  return cmocka_run_group_tests_name("devices", tests, NULL, NULL);
}
