/* tests/lib/temp_dir.h: a folder of a test's own. */
#ifndef TESTS_LIB_TEMP_DIR_H
#define TESTS_LIB_TEMP_DIR_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { TEMP_DIR_MAX = 64 };

/* Make one, and make it the working directory; path is absolute. Ends the test where it
 * cannot. */
void temp_dir_enter(char path[TEMP_DIR_MAX]);
/* Remove it and all that is in it. */
void temp_dir_remove(const char *path);

/* Files of the working directory. */
void temp_file_write(const char *name, const void *bytes, size_t len, mode_t mode);
/* Up to max bytes; -1 where there is none. */
ssize_t temp_file_read(const char *name, void *bytes, size_t max);
bool temp_file_exists(const char *name);

#endif
