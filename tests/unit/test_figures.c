/* Figures outlive the process that wrote them, and are summed over all workers. */
#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/figures.h"

Test(figures, what_a_child_counted_is_seen_by_its_parent_after_its_end)
{
    struct figures *figures = figures_map(2);
    struct figures_worker sum;
    pid_t pid = fork();

    if (pid == 0) {
        figures_add(&figures_place(figures, 1)->taken, 3);
        figures_set(&figures_place(figures, 1)->open, 2);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    figures_add(&figures_place(figures, 0)->taken, 4);
    figures_add(&figures_place(figures, 0)->ended[CALL_END_GONE], 5);
    figures_sum(figures, &sum);
    cr_assert_eq(figures_read(&sum.taken), 7);
    cr_assert_eq(figures_read(&sum.open), 2);
    cr_assert_eq(figures_read(&sum.ended[CALL_END_GONE]), 5);
}
