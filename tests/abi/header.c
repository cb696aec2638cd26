/* The header alone, and twice; compiled by check.sh as C and as C++ of several years. */
#include <textinv/textinv.h>
#include <textinv/textinv.h>

int main(void)
{
  return textinv_version() == 0;
}
