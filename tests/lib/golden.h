/* tests/lib/golden.h: bytes of every format that ever was, which are read for ever. A
 * golden file is hexadecimal text: '#' begins a comment, white space says nothing, and
 * "zeros N" stands for N bytes of zeros. A new format gets new files; one that is there
 * is never changed. */
#ifndef TESTS_LIB_GOLDEN_H
#define TESTS_LIB_GOLDEN_H
#include <stddef.h>
#include <stdint.h>

/* The bytes of tests/golden/NAME.hex, to be freed with free(); dir is the folder tests/.
 * Ends the test where there is no such file, or it holds something else. */
uint8_t *golden_read(const char *dir, const char *name, size_t *len);

/* Where bytes differ from the golden file's: the first such offset, or -1 where they are
 * the same. With TALLY_GOLDEN_WRITE set, a file that is missing is made of them first. */
long golden_differs(const char *dir, const char *name, const void *bytes, size_t len);

#endif
