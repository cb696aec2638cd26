/* a schedule from the text of its config */
#ifndef TI_TESTING_SCHEDULE_H
#define TI_TESTING_SCHEDULE_H

#include <string.h>

#include "schedule.h"
#include "testing.h"

static inline void read_schedule(ti_schedule *schedule, const char *text)
{
  ti_error error;
  ti_json json;

  assert_int_equal(ti_json_parse(&json, &error, "scheduler_config.json", text, strlen(text)), 0);
  if (ti_schedule_read(schedule, &error, &json, NULL, NULL) < 0)
    fail_msg("%s\n%s", error.text, text);
  ti_json_close(&json);
}

#endif
