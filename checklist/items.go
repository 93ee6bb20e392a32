// Package checklist holds CoreCrypto's acceptance checklist: the names of the tests that a conversation API has to pass, chapter by chapter, and as tests of this
// package what they ask for. The names are those of CoreCrypto's own tests; "ours" are cases that it lacks.
package checklist

// Item is one entry of the checklist.
type Item struct {
	Chapter   string
	Name      string
	Elsewhere string // the test that shows it; empty: the case of that name in this package
}

// Items is the whole checklist.
func Items() []Item {
	var all []Item
	for _, c := range chapters() {
		for _, name := range c.names {
			all = append(all, Item{Chapter: c.name, Name: name})
		}
	}
	return all
}

// chapter is a chapter with the names of its items.
type chapter struct {
	name  string
	names []string
}

func chapters() []chapter {
	return []chapter{
		{"creation, membership", []string{
			"create_self_conversation",
			"create_1_1_conversation",
			"create_many_people_conversation",
			"can_get_newly_created_conversation_epoch",
			"can_get_conversation_epoch",
			"create_conversation_should_fail_when_already_exists",
			"conversation_not_found",
			"can_add_members_to_conversation",
			"should_fail_on_duplicate_signatures",
			"add::should_return_valid_welcome",
			"remove::should_return_valid_welcome",
			"update::should_return_valid_welcome",
			"commit_pending::should_return_valid_welcome",
			"add::should_return_valid_group_info",
			"remove::should_return_valid_group_info",
			"update::should_return_valid_group_info",
			"commit_pending::should_return_valid_group_info",
			"alice_can_remove_bob",
			"update_keying_material::should_succeed",
			"update_keying_material::should_create_welcome_for_pending_add_proposals",
			"commit_pending_proposals::own",
			"commit_pending_proposals::others_by_reference",
			"can_remove_two_and_add_one_member_in_commit",
			"can_get_client_ids",
			"can_export_secret_key",
			"cannot_export_secret_key_invalid_length",
			"should_fetch_ext_sender",
			"config::required_capabilities",
			"config::creator_leaf_capabilities",
			"config::raw_external_sender",
			"config::jwk_external_sender",
		}},
	}
}
