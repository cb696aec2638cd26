/* The CUDA plug-in: which one is refused, which devices it lists, and why it has none. */
#include "session_testing.h"

#include <string.h>

static void refuses(const char *path, int32_t ordinal, textinv_status status, const char *word)
{
  textinv_session_params p;
  textinv_session *s = (textinv_session *)&p;

  must(NULL, textinv_session_params_init(&p, sizeof(p)));
  p.backend = TEXTINV_BACKEND_CUDA;
  p.device = ordinal;
  p.backend_path = path;
  assert_int_equal(textinv_session_new(&s, &p), status);
  assert_null(s);
  assert_non_null(strstr(textinv_session_error(NULL), word));
}

static void what_is_no_plugin_is_refused(void **state)
{
  (void)state;
  refuses("/nowhere/libtextinv-cuda.so", 0, TEXTINV_E_BACKEND, "/nowhere");
  refuses("/nowhere/libtextinv-cuda.so", 0, TEXTINV_E_BACKEND, "`make cuda` builds it");
  refuses("libtextinv-cuda.so", 0, TEXTINV_E_INVALID, "'/'");
  refuses("/lib/x86_64-linux-gnu/libm.so.6", 0, TEXTINV_E_BACKEND, "libm");
  refuses(plugin_path(), 99, TEXTINV_E_BACKEND, "99");
}

static void devices_are_listed(void **state)
{
  textinv_device_info d;
  uint32_t count = 0;

  (void)state;
  must(NULL, textinv_device_count(&count, TEXTINV_BACKEND_CUDA, plugin_path()));
  assert_true(count >= 1);
  must(NULL, textinv_device_info_init(&d, sizeof(d)));
  must(NULL, textinv_device_get_info(&d, TEXTINV_BACKEND_CUDA, 0, plugin_path()));
  assert_int_equal(d.backend, TEXTINV_BACKEND_CUDA);
  assert_int_equal(d.usable, 1);
  assert_string_equal(d.reason, "");
  assert_true(*d.name && d.memory && d.units && d.capability_major >= 8);
  assert_int_equal(textinv_device_get_info(&d, TEXTINV_BACKEND_CUDA, 99, plugin_path()),
                   TEXTINV_E_INVALID);
  assert_non_null(strstr(textinv_session_error(NULL), "device is 99; 0 to "));
  if (!is_emulated())
    return;
  setenv("TEXTINV_EMULATED_DEVICES", "3", 1);
  must(NULL, textinv_device_count(&count, TEXTINV_BACKEND_CUDA, plugin_path()));
  must(NULL, textinv_device_get_info(&d, TEXTINV_BACKEND_CUDA, 2, plugin_path()));
  unsetenv("TEXTINV_EMULATED_DEVICES");
  assert_int_equal(count, 3);
  assert_int_equal(d.device, 2);
  assert_string_equal(d.name, "emulated");
  assert_int_equal(d.capability_major, 9);
  assert_int_equal(d.capability_minor, 0);
}

/* the device that variable = value makes: listed, and refused with the same reason when a session is
 * to be opened on it */
static void is_unusable(textinv_device_info *d, const char *variable, const char *value,
                        const char *reason, const char *word)
{
  if (!is_emulated())
    skip();
  setenv(variable, value, 1);
  must(NULL, textinv_device_info_init(d, sizeof(*d)));
  must(NULL, textinv_device_get_info(d, TEXTINV_BACKEND_CUDA, 0, plugin_path()));
  assert_int_equal(d->usable, 0);
  assert_string_equal(d->reason, reason);
  refuses(plugin_path(), 0, TEXTINV_E_UNSUPPORTED, word);
  unsetenv(variable);
}

static void an_old_device_says_why(void **state)
{
  textinv_device_info d;

  (void)state;
  is_unusable(&d, "TEXTINV_EMULATED_CAPABILITY", "75",
              "its compute capability is 7.5; 8.0 or newer is needed",
              "7.5; 8.0 or newer is needed");
  assert_int_equal(d.capability_major, 7);
  assert_int_equal(d.capability_minor, 5);
}

static void a_device_without_pools_says_why(void **state)
{
  textinv_device_info d;

  (void)state;
  is_unusable(&d, "TEXTINV_EMULATED_POOLS", "0",
              "it has no memory pools (cudaMallocAsync), which are needed", "no memory pools");
}

/* count, description and session fail with the same message */
static void no_device_says_why(void **state)
{
  static const struct {
    const char *name, *value, *message;
  } cases[] = {
    { "TEXTINV_EMULATED_DRIVER", "0", "no CUDA driver is installed" },
    { "TEXTINV_EMULATED_DRIVER", "11040",
      "the driver is of CUDA 11.4, too old for the plug-in, which is of CUDA 12.5" },
    { "TEXTINV_EMULATED_DEVICES", "0", "the CUDA driver shows no device to this process" },
  };
  textinv_device_info d;

  (void)state;
  if (!is_emulated())
    skip();
  must(NULL, textinv_device_info_init(&d, sizeof(d)));
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    uint32_t count = 5;

    setenv(cases[i].name, cases[i].value, 1);
    assert_int_equal(textinv_device_count(&count, TEXTINV_BACKEND_CUDA, plugin_path()),
                     TEXTINV_E_BACKEND);
    assert_string_equal(textinv_session_error(NULL), cases[i].message);
    assert_int_equal(count, 0);
    assert_int_equal(textinv_device_get_info(&d, TEXTINV_BACKEND_CUDA, 0, plugin_path()),
                     TEXTINV_E_BACKEND);
    assert_string_equal(textinv_session_error(NULL), cases[i].message);
    refuses(plugin_path(), 0, TEXTINV_E_BACKEND, cases[i].message);
    unsetenv(cases[i].name);
  }
  assert_int_equal(d.usable, 0);
  assert_string_equal(d.name, "");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_no_plugin_is_refused),
    cmocka_unit_test(devices_are_listed),
    cmocka_unit_test(an_old_device_says_why),
    cmocka_unit_test(a_device_without_pools_says_why),
    cmocka_unit_test(no_device_says_why),
  };

  return cmocka_run_group_tests_name("cuda_plugin", tests, NULL, NULL);
}
