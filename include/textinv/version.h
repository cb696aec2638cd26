#ifndef TEXTINV_VERSION_H
#define TEXTINV_VERSION_H

/* the one place for the number: soname, pkg-config file and documents read it from here */
#define TEXTINV_VERSION_MAJOR 0
#define TEXTINV_VERSION_MINOR 1
#define TEXTINV_VERSION_PATCH 0

#endif /* TEXTINV_VERSION_H */
