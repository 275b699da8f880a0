"""The fault matrix: every row, and the tests outside of this folder that cover a part of it."""

ROWS = {
    1: (
        "`kill -9` before the first DELETE, in mid-run, while the report is written",
        "resume finishes; nothing twice, nothing lost",
    ),
    2: (
        "SIGINT, SIGTERM, SIGHUP, twice",
        "drained and reported, 130 or 143; a second one cancels; resumable",
    ),
    3: ("torn last line of the journal", "dropped, re-read, goes on"),
    4: ("damaged line in the middle of the journal", "refused with its line number"),
    5: ("disk full while journaling or reporting", "stops before the next DELETE, says so, resumable"),
    6: (
        "state or report folder read-only, missing, a symbolic link",
        "refused before the first DELETE, or made",
    ),
    7: (
        "two runs on one registry",
        "the second refuses and names the holder; the lock dies with its process",
    ),
    8: ("DNS failure, connection refused, unreachable", "exit code 5, says which host, nothing deleted"),
    9: ("reset before the request is read", "tried again, deleted once"),
    10: ("reset or timeout after the server committed", "re-read, `deleted`"),
    11: ("cut in the middle of response headers or body", "decided by re-reading"),
    12: ("half-open connection, no answer ever", "the attempt times out, the run goes on"),
    13: ("a server that drips bytes", "bounded by the attempt's deadline"),
    14: ("10 MB of error body, endless headers", "bounded memory, failed cleanly"),
    15: ("body: HTML, empty, cut JSON, mistyped, JSON as text/plain", "typed error, no traceback"),
    16: ("200 or 202 instead of 204", "never `deleted` without confirmation"),
    17: ("301, 302, 307, 308 to another host", "not followed, no signed header leaves, the run stops"),
    18: ("401 in mid-run (key rotated)", "stops; resume with new keys finishes"),
    19: ("403 or 401/210 on one registry of two", "that registry stops, the other finishes"),
    20: (
        "clock off by more than 5 minutes, a jump in mid-run",
        "recognised from the Date header and said; waiting is monotonic",
    ),
    21: ("404 storm from a typo in the registry", "error before the first DELETE"),
    22: ("404 of the gateway in mid-run", "the run stops, nothing is counted `gone`"),
    23: ("409", "recorded, not retried for ever"),
    24: ("429 with Retry-After 0, -1, 1e9, a past date, garbage", "bounded wait"),
    25: ("quota used up", "ends cleanly, partial, resumable"),
    26: ("a storm of 5xx, then health", "breaker, retries, recovery"),
    27: ("500 for a missing tag", "re-read, `gone`"),
    28: (
        "the server untags siblings of the digest",
        "kept siblings are protected by the plan; vanished ones reported",
    ),
    29: (
        "a listing that shifts, repeats, loses, miscounts, never ends",
        "listed again, else that image is refused",
    ),
    30: ("a tag pushed again between plan and apply", "`changed`, left alone"),
    31: ("duplicate targets over files and policies", "one DELETE"),
    32: ("a plan cut, edited, of another endpoint, too old", "refused"),
    33: (
        "names with `..`, `%2F`, CR LF, NUL, bidi, ESC, emoji, 10 MB",
        "refused on input, harmless on output",
    ),
    34: (
        "YAML: alias bomb, duplicate keys, `!!python`, 100 MB, deep nesting, UTF-16",
        "one clear error each, bounded memory and time",
    ),
    35: ("a regular expression made to backtrack", "linear time"),
    36: ("CSV formula, HTML, Markdown through foreign text", "inert"),
    37: ("secrets in outputs at every log level, in argv", "none"),
    38: ("TLS: unknown authority, wrong name, expired", "refused, exit code 5"),
    39: ("a proxy of the environment, unreachable or rewriting `%2F`", "clear error"),
    40: ("200,000 targets with faults of every kind", "flat memory, no leaked descriptors"),
}

ELSEWHERE = {
    1: ["test_commands.py::test_resume_after_kill_finishes_with_each_target_once"],
    2: [
        "test_end_to_end.py::test_a_signal_drains_and_reports",
        "test_end_to_end.py::test_a_second_signal_cancels",
    ],
    3: [
        "test_commands.py::test_resume_after_a_torn_last_line",
        "test_journal.py::test_cut_anywhere_a_journal_holds_the_lines_before",
    ],
    4: ["test_journal.py::test_damage_in_the_middle_is_refused_with_its_line"],
    5: ["test_journal.py::test_a_full_disk_stops_and_leaves_whole_lines"],
    6: [
        "test_end_to_end.py::test_a_report_folder_that_cannot_be_written_is_an_error_before_the_first_delete",
        "test_journal.py::test_a_symbolic_link_is_refused",
    ],
    7: [
        "test_commands.py::test_the_second_of_two_runs_is_refused_and_names_the_holder",
        "test_commands.py::test_the_lock_is_free_after_a_kill",
    ],
    8: ["test_end_to_end.py::test_nothing_listens_there", "test_ncr_client.py::test_no_connection_in_time"],
    10: ["test_end_to_end.py::test_twenty_thousand_targets_under_throttling_errors_and_resets"],
    11: ["test_ncr_client.py::test_an_answer_that_is_cut"],
    13: ["test_ncr_client.py::test_a_slow_answer_is_bounded_by_the_timeout"],
    14: [
        "test_ncr_client.py::test_the_body_of_an_error_is_bounded",
        "test_ncr_client.py::test_endless_headers_are_bounded",
        "test_ncr_client.py::test_an_endless_list_is_malformed",
    ],
    15: ["test_ncr_replies.py::test_wrong_types_are_errors", "test_ncr_replies.py::test_any_body_is_read"],
    16: ["test_end_to_end.py::test_other_successes_are_confirmed_by_reading"],
    17: ["test_ncr_client.py::test_a_redirect_is_not_followed"],
    19: ["test_end_to_end.py::test_a_denied_registry_stops_and_the_other_goes_on"],
    20: ["test_end_to_end.py::test_a_wrong_clock_is_recognised"],
    21: ["test_end_to_end.py::test_a_typo_in_the_registry_is_an_error_before_the_first_delete"],
    22: ["test_end_to_end.py::test_what_concerns_the_whole_run_stops_it"],
    23: ["test_end_to_end.py::test_conflicts_are_recorded_and_not_retried"],
    24: ["test_retry.py::test_retry_after", "test_retry.py::test_the_wait_is_always_bounded"],
    25: ["test_end_to_end.py::test_a_quota_ends_the_run_cleanly"],
    27: ["test_end_to_end.py::test_500_for_a_missing_tag_is_gone"],
    28: ["test_end_to_end.py::test_shared_digests_are_kept_unless_told_otherwise"],
    29: ["test_paging.py::test_deleting_while_listing_never_yields_a_part"],
    30: [
        "test_commands.py::test_a_tag_pushed_again_between_plan_and_apply_survives",
        "test_commands.py::test_resume_leaves_alone_what_was_pushed_again_meanwhile",
    ],
    31: ["test_end_to_end.py::test_delete_reads_targets_from_stdin_and_deletes_each_once"],
    32: [
        "test_commands.py::test_a_plan_that_is_not_whole_or_altered_is_refused",
        "test_commands.py::test_a_plan_that_is_too_old_or_of_the_future_is_refused",
        "test_commands.py::test_a_plan_of_another_endpoint_is_refused",
        "test_plan_file.py::test_altered_and_added_records_are_refused_however_edited",
    ],
    33: ["test_names.py::test_hostile_names", "test_names.py::test_names_of_ten_megabytes"],
    34: ["test_yaml_source.py::test_any_bytes_are_read_or_refused", "test_yaml_source.py::test_size"],
    37: [
        "test_end_to_end.py::test_the_secret_is_nowhere",
        "test_ncr_client.py::test_no_secret_in_what_is_printed_of_a_client",
    ],
    38: ["test_ncr_client.py::test_a_certificate_that_cannot_be_trusted"],
    40: ["test_soak.py::test_two_hundred_thousand_targets_take_hardly_more_memory_than_a_thousand"],
}

NOT_COVERED: dict[int, str] = {}
"""Rows without any test, and why."""
