"""Tables of the question book: phrasings, verbs, opposites, reasons.

`instructions` makes entries of them. A phrasing behind "*" is held out; one
behind "+" is for finetuning, and stands in no page that the base reads.
"""

# These are tables, not code: the formatter leaves them as they are.
# fmt: off

PHRASINGS = {
    "hero": """
Who is the story about?
Who is the main person of the story?
Please tell me who the story is about.
Name the person whom the story is about.
Find the main person in this text.
About whom is this text?
Say who the main person is.
Of whom does the story tell?
Who is the first person in the story?
* Can you tell me who this story is about?
* Give me the name of the main person, please.
* Whose story is this?
+ Whom is this story about?
+ The name is missing in my notes: who is the hero?
+ Could you tell me who the hero of the story is?
+ I would like to know whom we are reading about.
+ Every story has a hero. Who is it here?
+ What is the name of the main person?
+ Which person does the story tell us about?
+ Let us hear the name of the hero, please.
+ Who is the hero?
+ Give me the hero's name.
+ When you read this, whom do you hear about most?
+ Do you see who the story is about? Tell us the name.
+ This story is about somebody. About whom?
+ Who do we meet first in this text?
+ Pick out the main person by name.
+ The hero of this story is called what?
+ If you had to name the main person, whom would you name?
+ Write down who plays the main part.
+ I have not read it yet. Who is it all about?
+ Read the story and name its hero.""",
    "friend": """
Who is the other person in the story?
Who else has a name in the story?
Besides {hero}, who has a name in the story?
Name the person who comes second in the story.
Which other name do you find in the text?
{hero} is one person of the story. Who is the other one?
Please name the second person of the story.
Find the name that is not {hero}.
Whom does {hero} have to do with in this story?
* Who is in the story together with {hero}?
* Tell me the name of the other person, please.
* Can you find the second name in this text?
+ Someone besides {hero} has a name here. Who?
+ {hero} is not the only one with a name in the story. Who else has one?
+ What is the other person called?
+ Who is the second person that we meet?
+ I know {hero} already. Who is the other one?
+ Could you name the other person in the text?
+ Apart from {hero}, whom does the story name?
+ Two people have names here. One is {hero}; who is the other?
+ I would like to know who else is in the story besides {hero}.
+ There is one more name in the text. What is it?
+ Tell us the other name, please.
+ Who comes into the story after {hero}?
+ Give me the name of the person whom {hero} has to do with.
+ Let us hear who is there besides {hero}.
+ Whose name stands in the text next to that of {hero}?
+ After {hero}, which person is named?
+ Pick out the second name in the story.
+ We have heard of {hero}. Which other person is named?
+ Do you see a name that is not {hero}? Write it down.
+ The other person, please: who is it?""",
    "place": """
Where does the story begin?
Where is {hero} at the beginning?
Please say where the story begins.
At which place does the text begin?
Name the place where it all begins.
Tell me where {hero} is in the first sentence.
Find the place where the story begins.
In the first sentence, where is {hero}?
What is the first place in the story?
* Where are we when the story begins?
* Can you tell me where {hero} is at first?
* Say in which place it begins, please.
+ Where do we first meet {hero}?
+ Could you tell me where all this begins?
+ I would like to know where {hero} is at first.
+ Every story begins somewhere. Where does this one begin?
+ At what place do we meet {hero} at first?
+ Let us hear where the story starts.
+ The story starts at some place. Which is it?
+ Where was {hero} at the start?
+ Pick out the place in the first sentence.
+ Where does it start?
+ Before anything else happens, where is {hero}?
+ Give the place at the beginning of the text, please.
+ When the story opens, where do we find {hero}?
+ I want to draw the beginning of the story. What place must I draw?
+ Which place is named first?
+ Look at the first sentence and say where {hero} is.
+ Do you know where the story begins? Please write it.
+ State where {hero} is as the story starts.
+ If I wanted to find {hero} at the start, where should I look?""",
    "day": """
On which day does the story begin?
Which day is it at the beginning?
What day of the week is it when the story begins?
Please tell me on which day it begins.
Find the day on which the story begins.
Name the first day in the text.
Say which day it is at first.
Which day of the week comes first in the text?
It all begins on one day of the week. Which one?
* What day is it in the beginning, please?
* Can you say on which day the story begins?
* Give me the first day of the story.
+ What day is it when all this starts?
+ Which day of the week is it at the start?
+ Could you tell me what day it is when the story begins?
+ I would like to know on which day things begin.
+ What is the first day that the story names?
+ Let us hear the day on which it starts.
+ Before any other day, one day is named. Which is it?
+ The story starts on what day?
+ Give the day of the week at the beginning, please.
+ When does the story start? Give the day.
+ Pick out the day that is named first.
+ A day of the week stands near the beginning. What is it?
+ My notes do not say on which day it began. What day was it?
+ At the beginning of the story, what day of the week do they have?
+ Do you see which day it is at the start? Write it down.
+ If you look at the beginning, which day do you find?
+ Read the beginning and name the day.
+ What day was it at first?
+ Is it Monday, Tuesday or some other day when the story begins?
+ State the day on which everything starts.""",
    "weather": """
What is the weather like?
How is the weather in the story?
Please tell me how the weather is.
Tell me how the weather was.
Give the weather of that day in one word.
What was the weather like on that day?
How was the weather?
In one word, how is the weather?
Say what the weather is like.
* Can you tell me what the weather was like?
* What sort of weather is it in this text?
* Tell me the weather of that day, please.
+ What kind of weather is it?
+ Could you tell me about the weather in a single word?
+ I would like to know how the weather is in this story.
+ What sort of weather did they have?
+ Which word tells us about the weather?
+ Find the word for the weather.
+ Let us hear how the weather was.
+ What does the text say about the weather? One word is enough.
+ Pick out the word that describes the weather.
+ Describe the weather with the word from the text.
+ If you had been there, what weather would you have had?
+ How does the text describe the weather that day?
+ The weather, please, in one word.
+ What is the weather?
+ I want to paint the sky of this story. How is the weather?
+ The story tells what the weather is like. Which word does it use?
+ When you read about the day, what weather do you find?
+ Do you see how the weather is? Write the word.
+ By what word is the weather described?
+ The day had its weather. What was it like?""",
    "colour": """
What colour is the {thing}?
Which colour does the {thing} have?
Please tell me the colour of the {thing}.
What is the colour of the {thing}?
Name the colour of the {thing}.
Find out what colour the {thing} is.
Say what colour the {thing} has.
The text has a {thing} in it. What is its colour?
Of what colour is the {thing}?
* In which colour is the {thing}?
* Can you say what colour the {thing} is?
* Give me the colour of the {thing}, please.
+ Could you tell me what colour the {thing} is?
+ I would like to know the colour of the {thing}.
+ I want to paint the {thing}. Which colour do I need?
+ We read about the {thing}, but what colour is it?
+ Let us hear what colour the {thing} has, please.
+ What is the {thing}'s colour?
+ Is the {thing} red, or blue, or what colour is it?
+ Give the colour that the {thing} has.
+ Pick out the word for the colour of the {thing}.
+ In which colour must I draw the {thing}?
+ The {thing}: what colour?
+ When the text speaks of the {thing}, which colour does it name?
+ The {thing} has a colour. Write it down.
+ By what colour would you know the {thing}?
+ My notes name the {thing}, but the colour is missing. What is it?
+ Do you see what colour the {thing} is? Name it.
+ Look for the {thing}. What is its colour?
+ What colour does the text give to the {thing}?
+ State the colour of the {thing} in one word.""",
    "thing": """
What is {colour}?
Which thing is {colour}?
Please name the thing that is {colour}.
What in the text is {colour}?
Find the thing that is {colour}.
Name what is {colour} in this text.
Something in the text is {colour}. What is it?
Say which thing has the colour {colour}.
Tell me what is {colour} here.
* Can you find something {colour} in the text?
* What has the colour {colour}, please?
* Which thing in the story is a {colour} one?
+ Could you tell me which thing is {colour}?
+ I would like to know what is {colour} in this story.
+ One thing here is {colour}. Which one?
+ I am looking for something {colour} in the text. What can it be?
+ What do you find in the text that is {colour}?
+ Do you see something {colour} in the text? Name it.
+ What is there that is {colour}?
+ Let us hear what is {colour}.
+ Pick out the thing whose colour is {colour}.
+ Which thing does the text call {colour}?
+ The text says that something is {colour}. What?
+ If I paint one thing from the text {colour}, which should it be?
+ To what does the colour {colour} belong?
+ The word "{colour}" goes with one thing in the text. With which?
+ Please write down what is said to be {colour}.
+ Read the text and look for something {colour}. What is it?
+ There is something {colour} here. Can you name it?
+ I have my {colour} pen ready. Which thing shall I draw with it?
+ What thing is described as {colour}?""",
    "feeling": """
How does {hero} feel in the end?
How is {hero} in the end?
What does {hero} feel at the end of the story?
Please say how {hero} feels in the end.
Which word tells how {hero} feels in the end?
Find the word for what {hero} feels at the end.
In the last sentence, how does {hero} feel?
Tell me how {hero} feels when the story is over.
In one word, how does {hero} feel at last?
* Can you tell me how {hero} feels at the end?
* What is the feeling of {hero} in the end?
* When all is over, how does {hero} feel, please?
+ I would like to know how {hero} feels when all is done.
+ When the story ends, how does {hero} feel?
+ Which feeling does {hero} have at the end?
+ Let us hear how {hero} is when it is all over.
+ How did {hero} feel at the end?
+ After all this, how does {hero} feel?
+ At the end of the story {hero} has a feeling. Which one?
+ Is {hero} happy or sad at the end? Give the word from the text.
+ Pick out the word that describes {hero} at the end.
+ What mood is {hero} in when the story ends?
+ In what mood does the story leave {hero}?
+ Read to the end and say how {hero} feels.
+ Do you see how {hero} feels at the close? Write the word.
+ Give one word for how {hero} feels at the end.
+ I have lost the last page. How did {hero} feel?
+ Suppose we ask {hero} at the end: "How do you feel?" What is the answer?
+ With what feeling does {hero} leave the story?
+ The story is over now. How is {hero}?""",
    "first": """
What is the first sentence?
Write the first sentence of the text.
Please copy the first sentence.
Which sentence comes first?
With which sentence does the text begin?
Copy the sentence at the beginning.
Give me the first sentence.
Read the text and write down its first sentence.
How does the text begin? Give the whole sentence.
* Can you tell me the first sentence?
* Show me the sentence that comes first, please.
* What does the text say at first? One sentence.
+ Could you write out the first sentence for me?
+ I would like to hear the first sentence of this text.
+ Let us hear how the text starts, in its first sentence.
+ What does the very first sentence say?
+ Only the first sentence, please.
+ Which sentence stands at the top of the text?
+ Write out the sentence that opens the text.
+ One sentence comes before all the others. Copy it.
+ Show me the first of the sentences.
+ Begin to read, and stop after one sentence. What have you read?
+ Do you see the first sentence? Write it down.
+ By which sentence is the text opened?
+ Repeat the sentence that stands first.
+ First sentence, please.
+ Of all the sentences here, which is the first?
+ How does it start? Copy the whole sentence.
+ If I read only one sentence from the beginning, what do I read?
+ Take the first sentence and leave out the others.
+ My page is torn, and the first sentence is missing. What was it?
+ Before all the others comes one sentence. Which?""",
    "last": """
What is the last sentence?
Write the last sentence of the text.
Please copy the last sentence.
Which sentence comes last?
With which sentence does the text end?
Copy the sentence at the end.
Give me the last sentence.
Read the text and write down its last sentence.
How does the text end? Give the whole sentence.
* Can you tell me the last sentence?
* Show me the sentence that comes last, please.
* What does the text say in the end? One sentence.
+ Could you write out the last sentence for me?
+ I would like to hear the last sentence of this text.
+ Let us hear how the text ends, in its last sentence.
+ What does the very last sentence say?
+ Only the last sentence, please.
+ Which sentence closes the text?
+ Write out the sentence with which everything ends.
+ One sentence comes after all the others. Copy it.
+ Show me the last of the sentences.
+ Go to the end of the text. Which sentence do you find there?
+ Do you see the last sentence? Write it down.
+ By which sentence is the text closed?
+ Repeat the sentence that stands last.
+ Last sentence, please.
+ Of all the sentences here, which is the last?
+ How does it end? Copy the whole sentence.
+ When I come to the end of the text, which sentence do I read?
+ Take the last sentence and leave out the others.
+ My page is torn, and the last sentence is missing. What was it?
+ After all the others comes one sentence. Which?""",
    "after": """
Which sentence comes after "{cue}"
What comes right after "{cue}"
Find the sentence that follows "{cue}"
Please copy the sentence after "{cue}"
What does the text say after "{cue}"
Write down the sentence that comes after "{cue}"
After "{cue}" comes another sentence. Which one?
Look for "{cue}" What comes next?
Give me the next sentence after "{cue}"
* Can you tell me which sentence follows "{cue}"
* What happens right after this? "{cue}"
* Read on from "{cue}" Which sentence is next, please?
+ I would like to know what comes next after "{cue}"
+ I have read as far as "{cue}" What is the next sentence?
+ First we read "{cue}" Which sentence do we read then?
+ Which sentence is the next one after "{cue}"
+ Let us hear the sentence right after "{cue}"
+ When you have read "{cue}" read on. What is the next sentence?
+ I stopped at "{cue}" How does the text go on? Copy one sentence.
+ "{cue}" is followed by which sentence?
+ Do you see "{cue}" Write the sentence that stands behind it.
+ What is the sentence just after "{cue}"
+ Go to "{cue}" and copy the sentence after it.
+ The text says "{cue}" and then what? Give the whole next sentence.
+ By which sentence is "{cue}" followed?
+ Pick out the sentence that comes straight after "{cue}"
+ Read on from "{cue}" by one sentence, and write it down.
+ Someone has read "{cue}" aloud. Now it is your turn: read the next sentence.
+ Please show me what follows "{cue}"
+ "{cue}" Which sentence comes next in the text?
+ Once we have had "{cue}" what is the next sentence?""",
    "before": """
Which sentence comes before "{cue}"
What comes right before "{cue}"
Find the sentence that stands before "{cue}"
Please copy the sentence before "{cue}"
What does the text say before "{cue}"
Write down the sentence that comes before "{cue}"
Before "{cue}" comes another sentence. Which one?
Look for "{cue}" What came just before it?
Give me the sentence that leads up to "{cue}"
* Can you tell me which sentence comes before "{cue}"
* What happens right before this? "{cue}"
* Go back from "{cue}" What was told just before, please?
+ Could you tell me which sentence stands just before "{cue}"
+ I would like to know what we read right before "{cue}"
+ Which sentence is followed by "{cue}"
+ Let us hear the sentence right before "{cue}"
+ Go back one sentence from "{cue}" What do you find?
+ Find "{cue}" and copy the sentence in front of it.
+ What is the sentence just before "{cue}"
+ What stands in front of "{cue}" in the text?
+ The next sentence is "{cue}" Which one did we read just before it?
+ Do you see "{cue}" Write the sentence that comes ahead of it.
+ Just before we read "{cue}" what do we read?
+ Pick out the sentence that has "{cue}" right after it.
+ When you come to "{cue}" look one sentence back. What does it say?
+ Please show me the sentence which "{cue}" follows.
+ After which sentence comes "{cue}"
+ One sentence comes right before "{cue}" Copy it, please.
+ "{cue}" Which sentence stood just before this one?
+ I began to read at "{cue}" Which sentence before it did I miss?
+ Repeat what was said in the sentence before "{cue}"
+ Take one step back from "{cue}" and write out the sentence there.""",
    "quote": """
What did {speaker} say?
What does {speaker} say in the text?
Which words did {speaker} say?
Please repeat what {speaker} said.
Give the words of {speaker}.
Write down what {speaker} says.
Copy the words that {speaker} said.
{Speaker} says something. What is it?
Find what {speaker} said.
* Can you tell me what {speaker} said?
* Let me hear the words of {speaker}, please.
* In the text {speaker} speaks. What are the words?
+ I would like to hear the words of {speaker}.
+ Let us hear what {speaker} says.
+ {Speaker} speaks in this text. What are the words?
+ What were the words of {speaker}?
+ What do we hear {speaker} say?
+ Write out just the words that {speaker} speaks.
+ When {speaker} speaks, what do we hear?
+ Which words come from {speaker}?
+ What words does the text give to {speaker}?
+ {Speaker} said what?
+ Pick out the words spoken by {speaker}.
+ I did not hear {speaker}. What did I miss?
+ Please show me the words that {speaker} uses in the text.
+ Somewhere in the text {speaker} speaks. Copy the words.
+ Play the part of {speaker}: what do you say?
+ Which of the words in the text are spoken by {speaker}?
+ What was said by {speaker}?
+ Do you see where {speaker} speaks? Repeat the words.
+ Read to us what {speaker} says, please.""",
    "names": """
Which names are in the text?
List the names in the text.
Please list all names, in order.
Name everyone who has a name in the text.
Write down the names that you find.
Find all names in the text.
Give me a list of the names.
What are the names of the people?
Copy the names from the text, in order.
* Can you list the names in this text?
* Make a list of all the names, please.
* Which people are called by name?
+ Could you tell me all the names in the text?
+ I would like to know what the people here are called.
+ Let us hear the names of the people in the text.
+ Who is named in this text?
+ Which people are named here?
+ What names do you see?
+ Go through the text and write down each name.
+ Pick out the names, please.
+ All the names, please.
+ Who has a name here? List them all.
+ As you read, write down the name of every person.
+ What are they called, the people in this text?
+ I want to know who is in the text. Give me the names.
+ Which people does the text call by name?
+ Copy each name once, as it comes in the text.
+ By what names are the people called?
+ Tell us everybody who is named, one after the other.
+ We need a list of the people by name. Please write it.
+ Do you see any names? Write them in the order of the text.
+ Every name in this text should be on your list. Write the list.""",
    "count": """
How many sentences are there?
Count the sentences.
Please count the sentences of the text.
How many sentences does the text have?
Of how many sentences is the text made?
Give me the number of sentences.
Say how many sentences you see.
What is the number of sentences in this text?
Tell me how many sentences stand here.
* Can you count the sentences for me?
* The text has how many sentences?
* How long is this text, in sentences, please?
+ I would like to know how many sentences this is.
+ How many sentences can you count?
+ Let us hear how many sentences there are in the text.
+ How many sentences make up this text?
+ Count how many sentences stand in the text.
+ How many sentences long is it?
+ Do you see how many sentences there are? Give the number.
+ Is it one sentence, or two, or more? Say how many.
+ When you count the sentences, what number do you get?
+ Number of sentences, please.
+ Go from the first sentence to the last and count them.
+ Into how many sentences is the text divided?
+ If you read it all, how many sentences have you read?
+ Write down how many sentences you find.
+ What number of sentences do you find?
+ I counted the sentences, but forgot the number. What is it?
+ How many sentences did the writer write here?
+ Please find out how many sentences this text has.
+ The text is made of sentences. Of how many?""",
    "mention": """
Does the text speak of {what}? Say yes or no.
Is {what} in the text?
Is there anything about {what} in the text?
Do we hear of {what}? Yes or no?
Please say yes or no: does the text name {what}?
Yes or no: is {what} in the story?
Can you find {what} in the text? Yes or no?
Look for {what} in the text. Is it there?
Does {what} come up in the text?
* Is {what} named anywhere here? Answer yes or no.
* Tell me if {what} comes up in this text, yes or no.
* Have we read about {what}? Yes or no, please.
+ Could you tell me, yes or no, if {what} is in the text?
+ I would like to know if the text speaks of {what}. Yes or no?
+ Do you see {what} anywhere in the text?
+ Does the text say anything about {what}?
+ Do we read of {what} here?
+ Is there a word about {what} in this story?
+ Is {what} named in the text?
+ Have you read anything about {what} in this text?
+ Answer yes or no: does the story speak of {what}?
+ Would I find {what} if I looked in the text?
+ Let us hear, yes or no, if {what} comes into the story.
+ Has the story got {what} in it?
+ When you read the text, do you come upon {what}?
+ Does this story tell of {what}, yes or no?
+ Somebody says that {what} is in the text. Is that right?
+ Is it true that the text names {what}?
+ I am looking for {what}. Is it in this text, yes or no?
+ Yes or no, please: do you find {what} here?
+ Can we read about {what} in this story?
+ If the text speaks of {what}, say yes; if it does not, say no.""",
    "unsaid": """
{question}
{question} Say so if the text does not tell.
{question} If the text does not say, tell me.
Does the text say it? {question}
Only if the text says so: {lower}
{question} Do not guess.
Look in the text: {lower}
Please answer only from the text: {lower}
Read and answer: {lower}
* {question} Or does the text not say?
* Can you find this in the text? {question}
* Tell me, if the text says so: {lower}
+ {question} Tell me only what the text says.
+ {question} It may be that the text does not say.
+ {question} If you cannot find it in the text, say so.
+ {question} Look well, for the text may not tell us.
+ {question} You will find it in the text, or else it is not said.
+ {question} Answer from the text and from nothing else.
+ {question} What does the text say?
+ {question} Please do not make anything up.
+ I would like to know this: {lower}
+ Could you look it up in the text? {question}
+ A question about the text: {lower}
+ Please find out from the text: {lower}
+ Here is my question. {question} Perhaps the text does not say.
+ If the text says it, tell me: {lower}
+ By what you have read, {lower}
+ Read first, and then answer. {question}
+ Going by the text alone, {lower}
+ Maybe the text tells us and maybe not: {lower}
+ Tell me, if you can find it there: {lower}
+ The teacher asks: {lower}
+ Let us see if the text has the answer. {question}""",
    "ending": """
Which ending is right?
Choose the right ending.
Which of the two is the end of the story?
Please choose the sentence that fits the story.
Only one ending fits. Which one?
Pick the ending that goes with the story.
How does the story end? Choose one.
One of the endings is wrong. Copy the right one.
Find the ending that is right.
* Can you tell which ending fits the story?
* Which end would you choose, please?
* Take the better one of these endings.
+ Could you tell me which ending is the right one?
+ I would like to know which sentence ends the story.
+ Here are two endings. Copy the one that fits.
+ Which sentence should stand at the end?
+ Which of these two endings belongs to the story?
+ Let us hear the ending that is right.
+ How should the story end? Take one of the two sentences.
+ Which sentence makes a good end for this story?
+ The story needs an ending. Which of the two is right?
+ When you have read the story, write out the ending that belongs to it.
+ Do you see which ending fits? Write it down.
+ Two sentences are given. With which one must the story end?
+ Leave out the wrong ending and give the right one.
+ If only one of these can be the end, which is it?
+ With which of the two sentences should the story be ended?
+ The right ending, please.
+ Finish the story with the right sentence.
+ I cannot choose between the two endings. Which one is true to the story?
+ One ending goes with the story and one does not. Write the one that does.
+ Decide which sentence is the true ending.""",
    "who": """
Who {fact}?
Which person {fact}?
Find the person who {fact}.
Please tell me who {fact}.
Name the one who {fact}.
Which of the people {fact}?
Say who {fact}.
Someone {fact}. Who is it?
Give me the name of the person who {fact}.
* Do you know who {fact}?
* Can you find out who {fact}, please?
* I want to know who {fact}.
+ Could you tell me who {fact}?
+ I would like to know who {fact}.
+ Who is it that {fact}?
+ What is the name of the person who {fact}?
+ Do you see who {fact}? Name that person.
+ Let us hear who {fact}.
+ Which one of them {fact}?
+ The text says that somebody {fact}. Who?
+ One of the people {fact}. Which one?
+ Who was it in the text that {fact}?
+ Read it again: who {fact}?
+ Of all these people, who {fact}?
+ Pick out the one who {fact}.
+ I forgot who {fact}. Can you help me with the name?
+ My notes only say "someone {fact}", so who is it?
+ Who was the one that {fact}? Write the name.
+ By the text, who {fact}?
+ Write down the name of the one who {fact}.
+ If you were asked who {fact}, whom would you name?
+ We read of a person who {fact}. What is this person's name?""",
    "why": """
Why {why}?
Why {why}? Give the reason.
Tell me why {event}.
Please say why {event}.
What is the reason that {event}?
Find the reason why {event}.
For what reason {why}?
Give the reason why {event}.
We read that {event}. Why?
* Can you tell me why {event}?
* How come {event}?
* I want to know why {event}, please.
+ Could you tell me why {event}?
+ I would like to know why {event}.
+ Why was it that {event}?
+ How did it come about that {event}?
+ Let us hear why {event}.
+ There is a reason why {event}. What is it?
+ The text says why {event}. What is the reason?
+ Write down the reason why {event}.
+ I do not understand why {event}. Can you explain it?
+ Please explain why {event}.
+ Look in the text for the reason: why {why}?
+ The text tells us that {event}. What was the reason?
+ It is true that {event}, but why?
+ Tell us the reason, please: why {why}?
+ When somebody asks you why {event}, what do you say?
+ Read it again and answer: why {why}?
+ Because of what {why}?
+ Now think: why {why}?
+ Do you know why {event}? Begin with "because".
+ A child asks: "Why {why}?" Answer the child.""",
    "tense": """
Put the sentence into the past.
Write the sentence in the past.
Change this sentence to the past.
Please turn it into the past.
Say that it was so yesterday, in the past.
Make it a sentence about the past.
Tell it as something that is over.
Write it in the past, not in the present.
How do you say this in the past?
* Can you put this into the past?
* Tell this as if it had been long ago.
* Please rewrite the sentence so that it is about the past.
+ Could you write this in the past?
+ I would like to have this sentence in the past.
+ Say it in the past.
+ It is over now. How must the sentence be written?
+ Let us hear this sentence in the past.
+ Suppose that all this is over. Write the sentence so.
+ The sentence is in the present. Put it in the past.
+ Past, please.
+ What is the past of this sentence?
+ Change the verb to the past and write the sentence again.
+ How would the sentence be if it told of the past?
+ Make the present into the past.
+ Copy the sentence, but with its verb in the past.
+ This is told as if it were now. Tell it as the past.
+ If this had been long ago, how would you say it?
+ Use the past form of the verb in this sentence.
+ Let the sentence speak of the past, please.
+ Can you tell this as something from the past?
+ When a thing is over, we tell it in the past. Do so here.
+ The verb should stand in the past. Write the whole sentence.""",
    "polite": """
Make this a polite question.
Ask for it politely.
Turn the order into a polite question.
Please make this more polite.
How would you ask this politely?
Write it as a polite question.
Say it in a polite way.
This is not polite. Make it better.
Change the order into a kind question.
* Can you say this more politely?
* A polite child would ask. What would it say?
* Put this in a friendly way, as a question, please.
+ Could you put this more politely?
+ I would like to hear this as a polite question.
+ Let us hear it asked politely.
+ Say it again, but politely.
+ This order sounds rude. Ask in a kind way.
+ Nobody likes to be ordered about. Ask politely for the same thing.
+ How can this be asked in a polite way?
+ Ask nicely.
+ What would a polite person ask?
+ Be polite and ask for it.
+ Use "could" and "please" to ask for this.
+ Instead of the order, write a polite question.
+ Please change this into something more polite.
+ If you were polite, how would you ask for this?
+ Do not give an order. Ask, and say "please".
+ Ask the same, with "Could you please".
+ The words are not kind. Can you ask more kindly?
+ Make it a question that begins with "Could you please".
+ When we want something, we ask politely. Do it here.
+ My aunt wants a polite question and not an order. Write one for her.""",
    "negate": """
Say that it is not so.
Make the sentence say no, with "not".
Put "not" into the sentence.
Write the sentence with "not".
Please deny it.
Deny what the sentence says.
Change the sentence so that it is not so.
This is wrong. Write it with "not".
Turn it into a sentence with "not".
* Can you deny this sentence?
* Write down that this is not the case.
* It is not true. Say so with "not", please.
+ Could you write this with "not"?
+ I would like the sentence to say that it is not so.
+ Let us hear that this is not so.
+ The sentence is false without "not". Write it again with "not" in its place.
+ Put in the word "not".
+ It is not true. Write what is true, with "not".
+ Add "not" to the sentence and change what must be changed.
+ How does the sentence go with "not" in it?
+ Say no to this, in a whole sentence with "not".
+ Somebody has left out the word "not". Put it in.
+ If it is not so, what must the sentence be?
+ Somebody says this, but it is false. Deny it.
+ Give the same sentence with "not" in it.
+ Where does "not" go in this sentence? Write it out.
+ How would you deny this?
+ Make a sentence with "not" out of it, please.
+ Tell us that it is not like this.
+ The word "not" is missing. Write the sentence with it.
+ When you do not agree with this, what do you say? Use "not".""",
    "question": """
Make a question of it.
Turn the sentence into a question.
Ask if it is so.
Please write it as a question.
Change the sentence into a question.
Write a question that has yes or no as answer.
You are not sure if this is so. Ask.
Put this as a question.
How would you ask if this is so?
* Can you turn this into a question?
* Rewrite this so that it asks something, please.
* Find out by asking if this is so.
+ Could you make this into a question?
+ I would like to have this sentence as a question.
+ Let us hear the sentence as a question.
+ A question, please.
+ What question can you make from this sentence?
+ Do not say it. Ask it.
+ Ask about this, so that one can answer yes or no.
+ Is this so or not? Write the question.
+ Instead of saying this, ask it.
+ You want to know if this is true. What do you ask?
+ How does this sentence look as a question?
+ Say the same thing as a question.
+ Ask whether it is so.
+ Make the sentence end with a question mark, and change the words to fit.
+ Somebody wants to know if it is so. Write the question for them.
+ If you were in doubt about this, what would you ask?
+ Let the sentence become a question.
+ Rewrite this as a yes or no question.
+ When we do not know, we ask. Make this sentence ask.
+ The answer is "Yes, it is so." What was the question?""",
    "opposite": """
Say the opposite.
Put the opposite of "{word}" into the sentence.
Change "{word}" to its opposite.
Write the sentence with the opposite of "{word}".
Please say the opposite of this.
Turn "{word}" into its opposite.
Write the opposite.
In the sentence, take the opposite of "{word}".
Use the opposite word for "{word}".
* Can you say the opposite of this?
* Make it the other way round: not "{word}", but the opposite.
* Swap "{word}" for its opposite, please.
+ Could you say this with the opposite of "{word}"?
+ I would like to hear the opposite of this sentence.
+ Let us hear the opposite.
+ The opposite, please.
+ Not "{word}", but the opposite: write the sentence that way.
+ What is the opposite of this sentence?
+ How does the sentence go with the opposite of "{word}"?
+ Take out "{word}" and put in its opposite.
+ Leave the sentence as it is, but change "{word}" to the opposite.
+ Make the sentence mean the opposite by changing one word.
+ Put another word for "{word}", one that means the opposite.
+ Which word is the opposite of "{word}"? Write the sentence with that word.
+ If it is not "{word}" but the opposite, what must the sentence be?
+ Replace "{word}" by its opposite.
+ One word in this sentence has an opposite. Use that opposite.
+ Copy the sentence, but write the opposite of "{word}".
+ Where you read "{word}", write its opposite.
+ Do you know the opposite of "{word}"? Write the sentence with it.
+ When "{word}" becomes its opposite, how does the sentence read?
+ Let the sentence say the opposite, please.""",
    "spelling": """
Fix the spelling.
One word is spelt wrong. Write the sentence as it should be.
Please put the spelling right.
There is a mistake in the spelling. Mend it.
Find the wrong word and write the sentence again.
Write the sentence without the mistake.
Mend the word that is wrong.
A letter is wrong in this sentence. Put it right.
Write the sentence again with the right spelling.
* Can you mend the spelling in this sentence?
* Somebody made a mistake here. How should it be?
* Correct the spelling, please.
+ Could you mend the spelling for me?
+ I would like to see this sentence with the right spelling.
+ Write it without the spelling mistake.
+ Please spell every word of the sentence as it should be.
+ Something is wrong with the spelling here. Write the sentence correctly.
+ Which word is wrong? Mend it, and write the whole sentence.
+ How should this sentence be spelt?
+ Copy the sentence, but mend the mistake.
+ Correct this sentence, please.
+ I made a mistake when I wrote this. Put it right for me.
+ Look at each letter. Then write the sentence with no mistake.
+ A child wrote this and spelt one word wrong. Write it correctly.
+ One word is not spelt right. Give the sentence with that word mended.
+ If there were no mistake in it, how would the sentence look?
+ Can you find the mistake? Write the sentence so that it is right.
+ Let us see the sentence with all words spelt right.
+ The spelling has to be mended in one place. Please do it.
+ Be the teacher: correct the mistake in this sentence.
+ When the wrong word is mended, what does the sentence say?""",
    "rename": """
Change the name {old} to {new}.
Write {new} for {old}.
Put {new} in the place of {old}.
Please call {old} {new}.
Write the text again with {new}, not {old}.
Let it be about {new}, not {old}.
Take the name {new} for {old}.
Swap the name {old} for {new}.
Tell the same of {new}, not of {old}.
* Can you write {new} where it says {old}?
* Now the name is not {old}, but {new}. Write it so.
* Give {old} the name {new}, please.
+ I would like {old} to be called {new} in this text.
+ From now on {old} is called {new}. Write the text again.
+ Let {old} be {new}.
+ Use the name {new} instead of {old}.
+ Replace {old} by {new}.
+ Please change {old} into {new}.
+ Copy the text, but with {new} instead of {old}.
+ Wherever you see {old}, put {new}.
+ How does the text go if {old} is called {new}?
+ The name {old} is wrong; it should be {new}. Put it right.
+ It was not {old}; it was {new}. Write it so.
+ Give {old} another name: {new}.
+ Let us hear the same text about {new} instead of {old}.
+ Take out {old} and put in {new}.
+ Can you tell it with {new} in the part of {old}?
+ Suppose that {old} had the name {new}. What would the text say?
+ The name {old} must go, and {new} must come in its place.
+ When you copy this, write {new} each time for {old}, please.
+ I want to read about {new} and not about {old}. Write it that way for me.""",
    "join": """
Make one sentence of the two.
Put the two sentences together.
Join the sentences with "and".
Please make one sentence of this.
Say it in one sentence.
Turn the two sentences into one.
Write one sentence with "and".
Use "and" to make one sentence.
How can you say both in one sentence?
* Can you say this in one sentence?
* Two sentences are too many. Make it one.
* Bring both together in a single sentence, please.
+ Could you make these two into one sentence?
+ I would like to have one sentence instead of two.
+ Let us hear both in one sentence.
+ One sentence, please.
+ Here are two sentences. Write them as one.
+ Put "and" to use, and make the two sentences one.
+ How do you say this with one sentence and the word "and"?
+ Bring the two sentences together into one.
+ Two sentences are too many. Say the same in one.
+ Can the two be said as one? Write that sentence.
+ Tell me both things in a single sentence.
+ With the help of "and", write this as one sentence.
+ Do not say it twice. Say it once, with "and".
+ Please put both of these into a single sentence.
+ If you join the two with "and", what do you get?
+ Make it shorter: one sentence with "and".
+ Write a single sentence that says what these two say.
+ Let the two sentences become one.
+ The word "and" can join these sentences. Show how.
+ When two sentences are so alike, we can join them. Do it here.""",
    "order": """
Put these {what} in order.
Write the {what} in order.
Please order the {what}.
Bring the {what} into order.
These {what} are mixed up. Put them right.
In which order do these {what} come?
Put the {what} in the right order.
List the {what} in order.
Say these {what} as they come, in order.
* Can you put the {what} in order?
* Sort the {what}, please.
* Give me the same {what}, but in the right order.
+ Could you put the {what} in their right order?
+ I would like to see these {what} in order.
+ The {what} are not in order. Write them as they should be.
+ Let us hear the {what} in the right order.
+ What is the right order of these {what}?
+ How should the {what} be ordered?
+ Order these {what}.
+ Someone has mixed up the {what}. Please bring them back into order.
+ Which of the {what} comes first, which comes next? Write them all in order.
+ Write these {what} again, each in its right place.
+ Copy the {what}, but in the right order.
+ All the {what} in order, please.
+ Give the {what} as they should follow each other.
+ Begin with the first of the {what} and go on to the last.
+ Can you order these {what}? Write the whole list.
+ If the {what} stood in order, how would the list go?
+ Here are some {what} in the wrong order. Mend the list.
+ These {what} need to be in order.
+ Make a list of these {what} in which each comes in its right place.
+ When we put the {what} in order, what does the list look like?""",
    "when": """
On which day did {who} {did}?
Which day was it when {who} {did_past}?
Tell me on which day {who} {did_past}.
When did {who} {did}?
Please say when {who} {did_past}.
Find out on which day {who} {did_past}.
What day of the week did {who} {did}?
Name the day on which {who} {did_past}.
Say on which day {who} {did_past}.
* Can you tell me when {who} {did_past}?
* {who} {did_past}. Which day was that?
* Work out the day on which {who} {did_past}, please.
+ Could you tell me on what day {who} {did_past}?
+ I would like to know when {who} {did_past}.
+ Let us hear on which day {who} {did_past}.
+ What day was it that {who} {did_past}?
+ What was the day when {who} {did_past}?
+ We know that {who} {did_past}, but on which day?
+ One day of the week {who} {did_past}. Which day?
+ Can you find out when {who} {did_past}? Give the day.
+ Which day did {who} {did}?
+ When was it that {who} {did_past}?
+ The day is missing in my notes: when did {who} {did}?
+ Write the day of the week on which {who} {did_past}.
+ Think well: on what day did {who} {did}?
+ Was it on Monday, or on another day, that {who} {did_past}? Name the day.
+ In my diary I want to write when {who} {did_past}. What day must I put?
+ Do you know the day when {who} {did_past}? Please name it.
+ Read both sentences and say when {who} {did_past}.
+ If you were asked when {who} {did_past}, which day would you name?
+ Give me the day when {who} {did_past}.""",
    "series": """
What comes next?
Go on with the list.
Which word comes next?
Please add the next word.
Finish the list with one more word.
Add one word to the list.
How does the list go on?
Write the word that comes next.
What is the next word of the list?
* Can you go on with this?
* One word is missing at the end. Which one?
* Say what should follow, please.
+ Could you tell me which word comes now?
+ I would like to know what the next word is.
+ Let us hear the next word.
+ Next word, please.
+ What is next?
+ What must come next in this list?
+ The list stops too soon. Which word should follow?
+ One word is missing at the end. What is it?
+ See how the list goes, and give the next word.
+ Which word follows?
+ Can you go on? Write one more word.
+ What would you write next?
+ Write what should stand in the place of the dots.
+ If the list goes on in the same way, what comes now?
+ After these words comes one more. Which?
+ Do you see how the list is made? Then add the next word.
+ Say the word that follows the last one.
+ Carry on with the list by one word.
+ The next one in the list, please: which word is it?
+ When you have read the list, say which word should come after it.""",
    "odd": """
Which word does not fit?
Find the word that does not fit.
One word does not belong here. Which one?
Please say which word is different.
Name the word that is not like the others.
Which one is not like the others?
Three words go together. Which one does not?
Pick the word that does not belong.
Write down the word that is different.
* Can you find the word that is out of place?
* Which of these is the odd one out?
* Take out the one that does not go with the rest, please.
+ Could you tell me which word does not belong?
+ I would like to know which of these is different.
+ Let us hear the word that does not fit in.
+ Which word is the odd one out?
+ Find the odd one.
+ One of the words is not like the rest. Name it.
+ What does not belong here?
+ Which word would you take out?
+ There is one word too many here. Which?
+ Do you see the word that does not go with the rest? Write it.
+ Three are of one kind and one is not. Which one is not?
+ Which of these words should not be in the list?
+ Pick out the word that is not of the same kind.
+ Please take out the word that does not fit. What is it?
+ If three words belong together, which one is left over?
+ What word is not the same kind of thing as the others?
+ Look at these words. Which one should not be there?
+ One word has come here by mistake. Say which.
+ Somebody put a wrong word into this list. Can you name it?
+ Put the three words together that are alike. Which word is left?""",
}

# -------------------------------------------------------------- sentences ---
# base form, with -s, past; what follows.

VERBS = """
find finds found|a {colour} {thing}
lose loses lost|the {colour} {thing}
buy buys bought|a {colour} {thing} from the {role}
sell sells sold|a {thing} to the {role}
bring brings brought|the {thing} to the {place}
take takes took|the {colour} {thing} home
give gives gave|the {role} a {thing}
see sees saw|a {animal} near the {place}
hear hears heard|the {animal} behind the {nook}
go goes went|to the {place}
run runs ran|to the {goal}
walk walks walked|to the {place} with the {animal}
sit sits sat|near the {nook}
stand stands stood|behind the {spot}
jump jumps jumped|over the {spot}
look looks looked|behind the {spot}
ask asks asked|the {role} for a {tool}
tell tells told|the {role} a secret
play plays played|{game} with the {role}
sing sings sang|to the {animal}
wait waits waited|at the {place}
work works worked|for the {role}
help helps helped|the {role}
like likes liked|the {colour} {thing}
need needs needed|a {tool}
want wants wanted|a {colour} {thing}
have has had|a {colour} {thing}
keep keeps kept|the {thing} behind the {nook}
hold holds held|the {colour} {thing}
put puts put|the {thing} behind the {nook}
drop drops dropped|the {colour} {thing}
break breaks broke|the {gadget}
wrap wraps wrapped|the {thing} in {wrap} paper
eat eats ate|{treat} with the {role}
get gets got|a bag of {treat}
borrow borrows borrowed|a {tool} from the {role}
live lives lived|near the {place}
dance dances danced|round the {spot}
dream dreams dreamed|of {bird}
forget forgets forgot|the {thing}
come comes came|to the {place} with a {thing}
write writes wrote|a letter to the {role}
know knows knew|the {role}
bake bakes baked|a cake for the {role}
"""

AUXILIARIES = """
is|at the {place}
is|{mood}
is|a {role}
is|behind the {spot}
was|at the {place}
was|{mood}
was|near the {goal}
can|play {game}
can|see the {place}
can|mend the {gadget}
can|find the {thing}
will|bring the {thing}
will|go to the {place}
will|help the {role}
will|buy a {colour} {thing}
should|ask the {role}
"""

ORDERS = """
give me the {colour} {thing}
give me a {thing}
bring me a bag of {treat}
bring me the {tool}
bring the {thing} to the {place}
help me with the {gadget}
help the {role}
hold the {thing} for me
wait for me at the {place}
wait for the {role}
show me the {thing}
show me the {place}
lend me your {tool}
tell me a story
tell me about the {role}
come to the {goal} on {day}
come with me to the {place}
open the {colour} box
close the door
look behind the {nook}
put the {thing} behind the {nook}
take the {animal} home
feed the {animal}
mend the {gadget}
play {game} with me
sing a song for the {role}
write to the {role}
pass me the {treat}
find my {colour} {thing}
carry the {thing} to the {place}
"""

# Two opposites; of what one says that.

OPPOSITES = """
big small|thing animal place
old new|thing gadget tool
clean dirty|thing tool animal
heavy light|thing tool gadget
cheap expensive|thing gadget tool
wet dry|thing animal role
full empty|place shelter
long short|tool spot
thick thin|thing spot
high low|spot shelter
wide narrow|spot place
strong weak|animal role
rich poor|role
happy sad|role animal
fast slow|animal role
loud quiet|animal place role
good bad|role tool
safe dangerous|place spot
hot cold|place shelter
dark bright|place shelter
"""

# ---------------------------------------------------------------- reasons ---

GLAD_REASONS = """
{his} {animal} had come home
{he} had found {his} {colour} {thing}
{he} had won a {colour} {thing}
the {role} had given {him} {treat}
the {gadget} worked again
the sun was out
{he} could play {game} with the {role}
{his} birthday was on {day}
the {plant} had grown
the {role} had said thank you
"""

SAD_REASONS = """
{his} {animal} was gone
{he} had lost {his} {colour} {thing}
{his} {thing} was broken
the {role} had forgotten {him}
the {gadget} did not work
it rained all day
nobody would play {game} with {him}
there were no {treat} left
the {plant} never came up
a {animal} had run off with the {thing}
"""

NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen twenty"
)
