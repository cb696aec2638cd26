/* How a CLIP model wants its pictures: what a preprocessor_config.json says, and what it may not.
 */
#include "io_testing.h"

#include "clip_image.h"

static ti_clip_image clip;

static textinv_status read_config(ti_error *error, const char *text)
{
  ti_json json;
  textinv_status status = ti_json_parse(&json, error, "c.json", text, strlen(text));

  if (status < 0)
    return status;
  status = ti_clip_image_read(&clip, error, &json, 224);
  ti_json_close(&json);
  return status;
}

static void every_way_to_say_it(void **state)
{
  static const struct {
    const char *text;
    int size, square;
    ti_filter filter;
  } cases[] = {
    { "{}", 224, 0, TI_BICUBIC },
    { "{\"size\":null,\"crop_size\":224,\"resample\":3}", 224, 0, TI_BICUBIC },
    { "{\"size\":256,\"crop_size\":{\"height\":224,\"width\":224},\"resample\":1}", 256, 0,
      TI_LANCZOS },
    { "{\"size\":{\"shortest_edge\":230}}", 230, 0, TI_BICUBIC },
    { "{\"size\":{\"height\":224,\"width\":224},\"do_center_crop\":false}", 224, 1, TI_BICUBIC },
    { "{\"size\":{\"height\":240,\"width\":240},\"do_resize\":true}", 240, 1, TI_BICUBIC },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    assert_succeeds(read_config(&error, cases[i].text));
    assert_int_equal(clip.side, 224);
    assert_int_equal(clip.size, cases[i].size);
    assert_int_equal(clip.square, cases[i].square);
    assert_int_equal(clip.filter, cases[i].filter);
  }
  assert_succeeds(read_config(&error, "{\"image_mean\":[0.5,0,1],\"image_std\":[1,2,1000],"
                                      "\"rescale_factor\":2}"));
  assert_true(clip.mean[0] == 0.5f && clip.mean[2] == 1.0f && clip.deviation[2] == 1000.0f);
  assert_true(clip.scale == 2.0);
}

static void what_is_not_supported(void **state)
{
  static const struct {
    const char *text;
    textinv_status status;
    const char *message;
  } cases[] = {
    { "{\"do_resize\":false}", TEXTINV_E_UNSUPPORTED, "do_resize is false" },
    { "{\"do_resize\":1}", TEXTINV_E_FORMAT, "\"do_resize\" is 1" },
    { "{\"do_rescale\":false}", TEXTINV_E_UNSUPPORTED, "do_rescale is false" },
    { "{\"do_normalize\":false}", TEXTINV_E_UNSUPPORTED, "do_normalize is false" },
    { "{\"do_center_crop\":0}", TEXTINV_E_FORMAT, "\"do_center_crop\" is 0" },
    { "{\"do_center_crop\":false}", TEXTINV_E_UNSUPPORTED, "not cut to 224 x 224" },
    { "{\"size\":\"224\"}", TEXTINV_E_FORMAT, "\"size\" is \"224\"" },
    { "{\"size\":223}", TEXTINV_E_UNSUPPORTED, "size 223 is less than crop_size 224" },
    { "{\"size\":2049}", TEXTINV_E_LIMIT, "1..2048" },
    { "{\"size\":{\"shortest_edge\":0}}", TEXTINV_E_LIMIT, "size: \"shortest_edge\" is 0" },
    { "{\"size\":{\"height\":0,\"width\":224}}", TEXTINV_E_LIMIT, "size: \"height\" is 0" },
    { "{\"size\":{\"height\":224,\"width\":[]}}", TEXTINV_E_FORMAT, "size: \"width\"" },
    { "{\"size\":{\"height\":224}}", TEXTINV_E_UNSUPPORTED, "a height that is the width" },
    { "{\"size\":{\"width\":224}}", TEXTINV_E_UNSUPPORTED, "a height that is the width" },
    { "{\"size\":{\"height\":224,\"width\":225}}", TEXTINV_E_UNSUPPORTED, "that is the width" },
    { "{\"size\":{\"shortest_edge\":224,\"height\":224}}", TEXTINV_E_UNSUPPORTED, "alone" },
    { "{\"size\":{\"shortest_edge\":224,\"width\":224}}", TEXTINV_E_UNSUPPORTED, "alone" },
    { "{\"size\":{\"shortest_edge\":224,\"longest_edge\":9}}", TEXTINV_E_UNSUPPORTED, "alone" },
    { "{\"crop_size\":{}}", TEXTINV_E_UNSUPPORTED, "a height that is the width" },
    { "{\"crop_size\":200}", TEXTINV_E_UNSUPPORTED, "not cut to 224 x 224" },
    { "{\"resample\":2}", TEXTINV_E_UNSUPPORTED, "resample 2" },
    { "{\"resample\":6}", TEXTINV_E_LIMIT, "0..5" },
    { "{\"rescale_factor\":0}", TEXTINV_E_LIMIT, "rescale_factor" },
    { "{\"image_mean\":0.5}", TEXTINV_E_FORMAT, "image_mean" },
    { "{\"image_mean\":[0.5,0.5]}", TEXTINV_E_FORMAT, "2 entries, expected 3" },
    { "{\"image_mean\":[0.5,0.5,1001]}", TEXTINV_E_LIMIT, "image_mean[2] is 1001" },
    { "{\"image_std\":[0,1,1]}", TEXTINV_E_LIMIT, "image_std[0] is 0" },
    { "{\"image_std\":[1,2000,1]}", TEXTINV_E_LIMIT, "image_std[1] is 2000" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    assert_fails(read_config(&error, cases[i].text), cases[i].status, "c.json", cases[i].message);
}

/* a picture so wide that it could not be resized */
static void what_cannot_be_resized(void **state)
{
  static uint8_t pixels[3 * 16384];
  const ti_image wide = { 16384, 1, pixels };
  static float values[3 * 224 * 224];

  (void)state;
  assert_succeeds(read_config(&error, "{}"));
  assert_fails(ti_clip_image_values(values, &error, &clip, &wide, 32), TEXTINV_E_LIMIT,
               "3670016 x 224");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_way_to_say_it),
    cmocka_unit_test(what_is_not_supported),
    cmocka_unit_test(what_cannot_be_resized),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
